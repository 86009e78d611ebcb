"""Run every example and write its answer into its README: `make examples`.

Each README keeps a block between two markers; everything in it is written here, from the results
of one run at a fixed seed and number of draws, and `examples/verdicts.json` keeps the few figures
whose change has to be explained in the changelog.
"""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapeout.study import Results, decide
from tapeout.study.verdict import one_digit, usd

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
VERDICTS = EXAMPLES / "verdicts.json"
BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
SEED = 20261124
DRAWS_LOG2 = 13
PATCH_DRAWS_LOG2 = 10
MOST_PLAIN = 1e8  # beyond it, powers of ten
SENTENCES = ("headline", "answer", "today", "objectives", "hinge")
# patches that are also run together
TOGETHER = {
    "startup": (
        ("small", "steady"),
        ("small", "peaky"),
        ("large", "steady"),
        ("large", "peaky"),
    ),
}
# outside figures stand beside ours under this patch, whose terms are theirs
REFERENCES_UNDER = {"multi-silicon": "published-terms"}


def example_names(root: Path = EXAMPLES) -> list[str]:
    """Folders with a scenario."""
    return sorted(path.parent.name for path in root.glob("*/scenario.toml"))


def patch_sets(name: str, root: Path = EXAMPLES) -> list[tuple[str, ...]]:
    """Patches of an example, one at a time, then those that are run together."""
    path = root / name / "overlays.toml"
    single = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    return [*((key,) for key in single), *TOGETHER.get(name, ())]


def run(name: str, patches: tuple[str, ...] = (), draws_log2: int | None = None) -> Results:
    """One run of an example at the documented seed and draws."""
    usual = PATCH_DRAWS_LOG2 if patches else DRAWS_LOG2
    return decide(EXAMPLES / name, patches=patches, draws_log2=draws_log2 or usual, seed=SEED)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; all but the first column to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = [list(head), rule, *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def three(value: float | None) -> str:
    """Three significant digits, plain where that is readable."""
    if value is None or not math.isfinite(value):
        return "none"
    text = f"{value:.3g}"
    if "e+" not in text:
        return text
    return f"{float(text):,.0f}" if abs(value) < MOST_PLAIN else text.replace("e+", "e")


def money(value: float) -> str:
    """An amount with one decimal where whole millions would hide the difference."""
    tens = 1e6 <= abs(value) < 1e8
    return f"{'-' if value < 0 else ''}${abs(value) / 1e6:,.1f} M" if tens else usd(value)


def span(row: Mapping[str, float], name: str = "{}") -> str:
    """The 5 to 95 % range of a summary."""
    return f"{three(row[name.format('p05')])} to {three(row[name.format('p95')])}"


def strategies_table(verdict: Mapping[str, Any]) -> str:
    """Strategies by expected cost."""
    rows = [
        [
            row["title"],
            money(row["mean_usd"]),
            f"{money(row['p05_usd'])} to {money(row['p95_usd'])}",
            one_digit(row["p_cheapest"]),
            three(row["lcot_usd_per_mtok"]),
        ]
        for row in verdict["ranking"]
    ]
    head = ("strategy", "mean cost", "5 to 95 %", "P(cheapest)", "LCOT, $/M tokens")
    return table(head, rows)


def options_table(verdict: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Unit cost of every option at the date it is compared."""
    rows = [
        [titles[key], three(row["p50"]), span(row)]
        for key, row in verdict["lcot"].items()
        if key in titles
    ]
    return table(("option, one chip or token", "LCOT, $/M tokens, median", "5 to 95 %"), rows)


def units_table(verdict: Mapping[str, Any]) -> str:
    """Machines at their most, central case."""
    titles = {row["strategy"]: row["title"] for row in verdict["ranking"]}
    rows = [
        [
            titles[row["strategy"]],
            row["title"],
            f"{row['chips']:,.0f}",
            three(row["mw"]),
        ]
        for row in verdict["units"]
    ]
    return table(("strategy", "option", "chips at most", "MW"), rows)


def boundary_table(verdict: Mapping[str, Any]) -> str:
    """Needed and delivered advantage against each counterfactual."""
    rows = []
    for name, needed in verdict["g_star"].items():
        have = verdict["g_ship"][name]
        rows.append(
            [
                name,
                three(needed["value"]),
                three(have["p50"]),
                span(have),
                f"{three(have['usd_per_mw_ratio'])} x {three(have['tokens_per_mw_ratio'])}",
                one_digit(have["p_pays"]),
            ]
        )
    head = ("against", "g\\*\\_ship needed", "g_ship simulated", "5 to 95 %")
    return table((*head, "($/MW) x (tokens/MW)", "P(pays)"), rows)


def priors_table(verdict: Mapping[str, Any]) -> str:
    """P(pays) under each named belief."""
    rows = [
        [
            row["title"],
            three(row["g"]["p50"]),
            span(row["g"]),
            one_digit(row["p_pays"]),
            one_digit(row["p_pays_negotiated"]),
        ]
        for row in verdict["priors"]
    ]
    head = ("belief about g_ship", "median", "5 to 95 %", "P(pays), list", "P(pays), negotiated")
    return table(head, rows)


def futures_table(verdict: Mapping[str, Any]) -> str:
    """Named futures: what is cheapest in each, and the largest regret of every strategy."""
    titles = {row["strategy"]: row["title"] for row in verdict["ranking"]}
    futures: dict[str, list[Mapping[str, Any]]] = {}
    for row in verdict["regret"]:
        futures.setdefault(row["title"], []).append(row)
    rows = []
    for title, parts in futures.items():
        best = next(row for row in parts if row["best"])
        regret = {row["strategy"]: row["regret_usd"] for row in parts}
        pair = [money(regret[verdict[key]]) for key in ("headline_strategy", "baseline_strategy")]
        rows.append([title, titles[best["strategy"]], *pair])
    head = ("named future, all else central", "cheapest")
    columns = [f"regret: {verdict[key]}" for key in ("headline_title", "baseline_title")]
    worst: dict[str, float] = {}
    for row in verdict["regret"]:
        worst[row["strategy"]] = max(worst.get(row["strategy"], 0.0), row["regret_usd"])
    least = min(worst, key=lambda key: worst[key])
    note = (
        f"Least to regret over these futures: {titles[least]}, at worst {money(worst[least])}"
        " more than the best."
    )
    return table((*head, *columns), rows) + f"\n\n{note}"


def references_table(verdict: Mapping[str, Any], *, relative: bool = False) -> str:
    """Figures from outside beside ours, never used; `relative` also divides by the first row."""
    rows = []
    first = verdict["references"][0]
    for row in verdict["references"]:
        low, high = row["theirs_low"], row["theirs_high"]
        around = "" if low is None or low == high else f" ({three(low)} to {three(high)})"
        cells = [row["title"], three(row["theirs"]) + around, three(row["ours"])]
        if relative:
            cells += [three(row[who] / first[who]) for who in ("theirs", "ours")]
        else:
            cells.append(three(row["ratio"]))
        rows.append(cells)
    last = ("theirs / first row", "ours / first row") if relative else ("ours / theirs",)
    return table(("published", "theirs", "ours", *last), rows)


def patches_table(rows: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]) -> str:
    """What each named patch does to the order."""
    cells = []
    for patches, verdict in rows:
        first, second = verdict["ranking"][:2]
        needed = verdict["g_star"]["list"]["value"] if verdict["builds"] else None
        cells.append(
            [
                " + ".join(f"`{patch}`" for patch in patches),
                f"{first['title']}, {money(first['mean_usd'])}",
                one_digit(first["p_cheapest"]),
                f"{second['title']}, {money(second['mean_usd'])}",
                *([three(needed)] if verdict["builds"] else []),
            ]
        )
    head = ["patch", "cheapest", "P(cheapest)", "second"]
    if rows and rows[0][1]["builds"]:
        head.append("g\\*\\_ship needed")
    return table(head, cells)


def option_titles(name: str) -> dict[str, str]:
    """Titles of the options of an example."""
    raw = tomllib.loads((EXAMPLES / name / "scenario.toml").read_text("utf-8"))
    return {key: one.get("title") or key for key, one in raw["options"].items()}


def answer(
    results: Results,
    titles: Mapping[str, str],
    patched: Sequence[tuple[tuple[str, ...], Results]] = (),
    references_under: str = "",
) -> str:
    """Text of the answer block, markers left out.

    Parameters
    ----------
    results : Results
        The scenario as it stands.
    titles : mapping of option key to title
    patched : sequence of patch names and Results
    references_under : str
        Patch whose run the outside figures are compared with; empty: the scenario as it stands.
    """
    verdict, manifest = results.verdict, results.manifest
    said = dict.fromkeys(verdict["sentences"].get(key, "") for key in SENTENCES)
    parts = [
        f"*Written by `make examples`: {manifest['draws']:,} futures, seed {manifest['seed']},"
        f" catalogue {manifest['catalog']}. Do not edit.*",
        *(f"> {text}" for text in said if text),
        strategies_table(verdict),
    ]
    if verdict["builds"]:
        parts += [boundary_table(verdict)]
        parts += [priors_table(verdict)] if verdict["priors"] else []
    parts += [options_table(verdict, titles), units_table(verdict)]
    parts += [futures_table(verdict)] if verdict["regret"] else []
    if patched:
        parts.append(patches_table([(names, one.verdict) for names, one in patched]))
    outside = {names: one.verdict for names, one in patched}.get((references_under,), verdict)
    if outside["references"]:
        under = f", under `{references_under}`" if outside is not verdict else ""
        parts += [f"Figures from outside{under}:", references_table(outside, relative=bool(under))]
    return "\n\n".join(parts)


def with_answer(readme: str, text: str) -> str:
    """README with the block between the markers replaced; markers are added where absent."""
    block = f"{BEGIN}\n{text}\n{END}"
    if BEGIN not in readme:
        return f"{readme.rstrip()}\n\n## The answer\n\n{block}\n"
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + block + after


def first_readme(name: str) -> str:
    """README of an example that has none yet: its question and how to run it."""
    raw = tomllib.loads((EXAMPLES / name / "scenario.toml").read_text("utf-8"))
    run_it = f"    tapeout decide examples/{name}"
    return f"# {raw['title']}\n\n{raw.get('question', '')}\n\n## Run it\n\n{run_it}\n"


def key_figures(
    results: Results, patched: Sequence[tuple[tuple[str, ...], Results]]
) -> dict[str, Any]:
    """What must not change unsaid: order of strategies, g* rounded, the cheapest by patch."""
    verdict = results.verdict
    out: dict[str, Any] = {
        "headline": verdict["headline_strategy"],
        "ranking": [row["strategy"] for row in verdict["ranking"]],
        "patches": {
            "+".join(names): one.verdict["ranking"][0]["strategy"] for names, one in patched
        },
    }
    if verdict["builds"]:
        finite = {name: row["value"] for name, row in verdict["g_star"].items()}
        out["g_star"] = {
            name: round(value, 1) if value is not None and abs(value) < float("inf") else None
            for name, value in finite.items()
        }
    return out


def evaluate(name: str) -> tuple[str, dict[str, Any]]:
    """Answer block and key figures of an example."""
    results = run(name)
    patched = [(patches, run(name, patches)) for patches in patch_sets(name)]
    text = answer(results, option_titles(name), patched, REFERENCES_UNDER.get(name, ""))
    return text, key_figures(results, patched)


def main(names: Sequence[str]) -> int:
    """Run the named examples, or all, and write their answers."""
    figures = json.loads(VERDICTS.read_text("utf-8")) if VERDICTS.is_file() else {}
    for name in names or example_names():
        text, figures[name] = evaluate(name)
        readme = EXAMPLES / name / "README.md"
        old = readme.read_text("utf-8") if readme.is_file() else first_readme(name)
        readme.write_text(with_answer(old, text), encoding="utf-8")
        sys.stdout.write(f"{name}: {readme.relative_to(ROOT)}\n")
    VERDICTS.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
