"""Requests of clients that are described: arrivals, lengths, shared prompts, sessions.

Every cause of every client has its own random stream, so that another rate leaves lengths alone
and another length leaves arrivals alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.arrivals import Rates, Renewal, operational_times, repeated
from tapeout.serving.traffic.lengths import TokenCounts
from tapeout.serving.traffic.prefixes import dense
from tapeout.serving.traffic.scaling import merge, roots, take
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import Prefixes, Trace

BLOCK_TOKENS = 16
MOST_REQUESTS = 200_000_000
_MOST_ROUNDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Input and output lengths that belong together, drawn again as pairs."""

    input_tokens: Ints
    output_tokens: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Conversations, or runs of an agent: the history is the beginning of the next prompt.

    Attributes
    ----------
    turns : float
        Mean number of turns, at least 1.
    spread : "geometric" or "fixed"
        Of the number of turns; a fixed one is rounded.
    think_s, think_cv : float
        Time from the end of a turn to the next: reading and typing, or a tool. Lognormal. [s]
    max_context_tokens : int, optional
        A session ends before a turn whose prompt and output are longer.
    """

    turns: float
    spread: Literal["geometric", "fixed"] = "geometric"
    think_s: float = 0.0
    think_cv: float = 1.0
    max_context_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """What one client sends.

    Attributes
    ----------
    rates : Rates
        Of requests, or of sessions where there are any; they repeat after their end.
    process : Renewal
    input_tokens, output_tokens : TokenCounts
        Of a turn: what is new in its prompt, beside shared prompt and history.
    pairs : Pairs, optional
        Instead of the two.
    shared_tokens, groups : int
        Every prompt, and every session, begins with one of `groups` prompts of `shared_tokens`.
    sessions : Sessions, optional
        Each is a client of its own in the trace, for routers that keep a user in one place.
    slo_class : str
    """

    rates: Rates
    process: Renewal
    input_tokens: TokenCounts
    output_tokens: TokenCounts
    pairs: Pairs | None = None
    shared_tokens: int = 0
    groups: int = 1
    sessions: Sessions | None = None
    slo_class: str = ""


def generate(
    plans: Sequence[ClientPlan],
    seed: int,
    *,
    duration_s: float | None = None,
    requests: int | None = None,
    source: str = "generated",
) -> Trace:
    """Draw the requests of clients and put them together.

    Parameters
    ----------
    plans : sequence of ClientPlan
        One for every client.
    seed : int
    duration_s : float, optional
        First turns arrive before it. [s]
    requests : int, optional
        The first so many, later turns counted; one of the two must be given.
    source : str

    Returns
    -------
    Trace

    Raises
    ------
    InfeasibleError
        Neither or both ends are given, or nothing arrives.
    """
    if (duration_s is None) == (requests is None):
        raise InfeasibleError("give either a duration or a number of requests")
    if duration_s is not None:
        return _until(plans, seed, duration_s, source)
    assert requests is not None
    total_rps = sum(plan.rates.expected / float(plan.rates.edges_s[-1]) for plan in plans)
    if total_rps <= 0.0:
        raise InfeasibleError("no client has a positive rate")
    end_s = (requests + 4.0 * math.sqrt(requests) + 4.0) / total_rps
    for _ in range(_MOST_ROUNDS):
        trace = _until(plans, seed, end_s, source)
        # of the requests found, those before the end cannot be moved by a later end
        if int(np.searchsorted(trace.arrival_s, end_s)) >= requests:
            return take(trace, np.arange(requests))
        end_s *= 2.0
    raise InfeasibleError(f"fewer than {requests:,} requests in {end_s:.3g} s")


def _until(plans: Sequence[ClientPlan], seed: int, end_s: float, source: str) -> Trace:
    expected = sum(
        repeated(plan.rates, end_s).expected
        * (1.0 if plan.sessions is None else plan.sessions.turns)
        for plan in plans
    )
    if expected > MOST_REQUESTS:
        raise InfeasibleError(f"{expected:.3g} requests are too many; give less time or a limit")
    parts = [_client(plan, seed, number, end_s) for number, plan in enumerate(plans)]
    if not sum(one.requests for one in parts):
        raise InfeasibleError(f"no request arrives in {end_s:g} s; give more time or a higher rate")
    numbered = [_numbered(one, number, len(plans)) for number, one in enumerate(parts)]
    return merge(numbered, f"{source}, seed {seed}")


def _numbered(trace: Trace, number: int, plans: int) -> Trace:
    """Requests of a plan have its number, sessions one each: their user's."""
    if trace.parent is None:
        return replace(trace, client=np.full(trace.requests, number, dtype=np.int64))
    _, session = np.unique(roots(trace), return_inverse=True)
    return replace(trace, client=number + plans * (session + 1))


def _client(plan: ClientPlan, seed: int, number: int, end_s: float) -> Trace:
    rates = repeated(plan.rates, end_s)
    starts_s = rates.clock(
        operational_times(plan.process, rates.expected, stream(seed, "arrivals", number))
    )
    session = np.arange(starts_s.size)
    if plan.sessions is not None:
        session = np.repeat(session, _turns(plan.sessions, stream(seed, "turns", number), session))
    new, out = _lengths(plan, seed, number, session.size)
    done = np.cumsum(new + out)
    first = np.searchsorted(session, session)  # place of the session's first turn
    context = plan.shared_tokens + done - (done - new - out)[first]  # with this turn's output
    think_s = _think(plan.sessions, stream(seed, "think times", number), session, first)
    if plan.sessions is not None and plan.sessions.max_context_tokens is not None:
        kept = context <= plan.sessions.max_context_tokens
        session, new, out, think_s = session[kept], new[kept], out[kept], think_s[kept]
        context, first = context[kept], np.searchsorted(session, session)
    waits = np.cumsum(think_s)
    arrival_s = starts_s[session] + waits - waits[first]
    group = stream(seed, "shared prompts", number).integers(plan.groups, size=starts_s.size)
    prompt = context - out
    return _in_order(plan, arrival_s, first, think_s, (prompt, out, session, group))


def _in_order(
    plan: ClientPlan,
    arrival_s: Floats,
    first: Ints,
    think_s: Floats,
    columns: tuple[Ints, Ints, Ints, Ints],
) -> Trace:
    prompt, out, session, group = columns
    places = np.arange(prompt.size)
    order = np.argsort(arrival_s, kind="stable")
    back = np.empty_like(order)
    back[order] = places
    parent = np.where(places > first, back[np.maximum(places - 1, 0)], -1)[order]
    # An answer is part of the next prompt, so its blocks have places as well; the last token never.
    filled = (prompt + out - 1 if plan.sessions is not None else prompt)[order]
    has_sessions, shares = plan.sessions is not None, plan.shared_tokens >= BLOCK_TOKENS
    return Trace(
        arrival_s=arrival_s[order],
        input_tokens=prompt[order],
        output_tokens=out[order],
        prefixes=_prefixes(plan, filled, session[order], group) if has_sessions or shares else None,
        parent=parent if has_sessions else None,
        think_s=think_s[order] if has_sessions else None,
        slo_class=np.zeros(prompt.size, dtype=np.int64) if plan.slo_class else None,
        classes=(plan.slo_class,) if plan.slo_class else (),
    )


def _turns(sessions: Sessions, rng: np.random.Generator, session: Ints) -> Ints:
    if sessions.spread == "fixed":
        return np.full(session.size, max(round(sessions.turns), 1), dtype=np.int64)
    return rng.geometric(1.0 / max(sessions.turns, 1.0), session.size)


def _think(
    sessions: Sessions | None, rng: np.random.Generator, session: Ints, first: Ints
) -> Floats:
    """Time before each turn, 0 before the first."""
    if sessions is None or sessions.think_s <= 0.0:
        return np.zeros(session.size)
    variance = math.log1p(sessions.think_cv**2)
    normal = rng.standard_normal(session.size)
    times = sessions.think_s * np.exp(math.sqrt(variance) * normal - variance / 2.0)
    return np.where(np.arange(session.size) > first, times, 0.0)


def _lengths(plan: ClientPlan, seed: int, number: int, count: int) -> tuple[Ints, Ints]:
    if plan.pairs is not None:
        size = plan.pairs.input_tokens.size
        place = stream(seed, "lengths", number).integers(size, size=count)
        return plan.pairs.input_tokens[place], plan.pairs.output_tokens[place]
    return (
        plan.input_tokens.draw(stream(seed, "input lengths", number), count),
        plan.output_tokens.draw(stream(seed, "output lengths", number), count),
    )


def _prefixes(plan: ClientPlan, filled: Ints, session: Ints, group: Ints) -> Prefixes:
    """Shared blocks by group, the others by session; turns of a session extend each other."""
    shared = plan.shared_tokens // BLOCK_TOKENS
    sizes = filled // BLOCK_TOKENS
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    longest = np.zeros(group.size, dtype=np.int64)
    np.maximum.at(longest, session, sizes)
    begin = plan.groups * shared + np.concatenate([[0], np.cumsum(longest)[:-1]]).astype(np.int64)
    request = np.repeat(np.arange(filled.size), sizes)
    block = np.arange(int(offsets[-1])) - offsets[:-1][request]
    of_session = session[request]
    ids = np.where(block < shared, group[of_session] * shared + block, begin[of_session] + block)
    return dense(BLOCK_TOKENS, offsets, ids)
