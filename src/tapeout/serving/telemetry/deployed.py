"""From a deployment and a log to a calibration file's content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from tapeout.perf import TimingModel
from tapeout.serving.engine.defaults import setup
from tapeout.serving.engine.run import run_engine
from tapeout.serving.telemetry.calibration import (
    NAMES,
    Calibration,
    ConstantsTable,
    ConstantTable,
    ErrorTable,
    SourceTable,
)
from tapeout.serving.telemetry.fit import Engine, Fit, fit_log
from tapeout.serving.telemetry.log import RequestLog
from tapeout.serving.types import Deployment


def calibrate(
    log: RequestLog,
    deployment: Deployment,
    model: TimingModel,
    *,
    fraction: float = 0.6,
    seed: int = 0,
    tell: Callable[[int], None] | None = None,
) -> tuple[Calibration, tuple[str, ...]]:
    """Fit a deployment to a log.

    Parameters
    ----------
    log : RequestLog
        Of one replica.
    deployment : Deployment
    model : TimingModel
        That times the steps before they are calibrated.
    fraction, seed, tell
        As in `fit_log`.

    Returns
    -------
    (Calibration, tuple of str)
        The content of a calibration file, and what was taken by default.

    Raises
    ------
    InfeasibleError
        As `fit_log`, or the deployment cannot be built.
    """
    longest = int((log.input_tokens + log.output_tokens).max())
    built = setup(deployment, model, longest_context=longest)
    engine = Engine(rules=built.rules, table=built.table, front=deployment.front, runner=run_engine)
    found = fit_log(log, engine, fraction=fraction, seed=seed, tell=tell)
    source = SourceTable(
        log=log.name,
        sha256=log.sha256,
        requests=log.requests,
        fitted=found.fitted,
        held=found.held,
        failed=log.failed,
        bad=log.bad,
        deployment=_words(deployment),
        timing_model=model.name,
        simulator=run_engine.__name__,
    )
    notes = list(built.notes)
    if log.failed:
        notes.append(f"{log.failed} rows without a token are left out, also from the load")
    if log.bad:
        notes.append(f"{log.bad} rows could not be read and are left out")
    return as_calibration(found, source), tuple(notes)


def as_calibration(found: Fit, source: SourceTable) -> Calibration:
    """Return the content of a file."""
    return Calibration(
        warnings=list(found.warnings),
        source=source,
        constants=ConstantsTable(
            **{
                name: ConstantTable(
                    value=getattr(found.constants, name),
                    low=getattr(found.low, name),
                    high=getattr(found.high, name),
                    identified=found.identified[name],
                )
                for name in NAMES
            }
        ),
        errors=[ErrorTable.model_validate(asdict(one)) for one in found.errors],
    )


def _words(deployment: Deployment) -> str:
    placement = deployment.placement
    degrees = (
        f"tp{placement.tensor_parallel}",
        f"pp{placement.pipeline_parallel}" if placement.pipeline_parallel > 1 else "",
        f"ep{placement.expert_parallel}" if placement.expert_parallel > 1 else "",
        f"dp{placement.data_parallel}" if placement.data_parallel > 1 else "",
    )
    return " ".join(
        (
            placement.system.chip.name,
            placement.architecture.name,
            "-".join(part for part in degrees if part),
            placement.formats.weight,
            deployment.policy.name,
        )
    )
