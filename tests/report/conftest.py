"""One study with a chip of its own and one without, computed once for the whole room."""

from pathlib import Path

import pytest

from tapeout.report import html
from tapeout.study import Results, decide

ROOT = Path(__file__).parents[2]

NO_BUILD = """
schema = 1
title = "Buy or rent <script>alert('title')</script>"
question = "Is renting & waiting better?"

[decision]
start = 2026-12-01
horizon_years = 6
baseline = "buy"
headline = "rent"
alternative = "gpu"

[scale]
sized_by = "demand"
first_demand = 2027-06-01
ramp_years = 1.0

[[traffic]]
name = "chat"
model = "gpt-oss-120b"
input_tokens = 4000
output_tokens = 800
cached_input_fraction = 0.4
output_tokens_per_day = 1e11

[slo.chat]
ttft_p90_s = 2.0
tpot_p90_s = 0.05

[options.gpu]
kind = "buy"
title = "GB300 <b>bought</b>"
chip = "GB300 NVL72"
host_usd = 0
allin_w_per_chip = "1950 to 2300"

[options.rent]
kind = "rent"
title = "GB300, rented"
chip = "GB300 NVL72"
depth = "contract"
allin_w_per_chip = "1950 to 2300"
rent_usd_per_chip_hour = { low = 3.96, high = 9.0, why = "</td><img src=x onerror=alert(1)>" }
port_usd = 0
port_usd_per_year = 0
port_start_fraction = 1

[[strategy]]
key = "buy"
title = "Buy GPUs"
steps = [{ option = "gpu" }]

[[strategy]]
key = "rent"
title = "Rent </script><script>alert(2)</script>"
steps = [{ option = "rent" }]
"""


@pytest.fixture(scope="session")
def build() -> Results:
    """The demo with few futures."""
    return decide(ROOT / "examples" / "jalapeno", draws_log2=7)


@pytest.fixture(scope="session")
def no_build_text() -> str:
    """Its scenario."""
    return NO_BUILD


@pytest.fixture(scope="session")
def no_build(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Buying against renting, with titles that try to break out of the page."""
    folder = tmp_path_factory.mktemp("no-build")
    (folder / "scenario.toml").write_text(NO_BUILD, encoding="utf-8")
    return decide(folder, draws_log2=6)


@pytest.fixture(scope="session")
def build_page(build: Results) -> str:
    return html(build)


@pytest.fixture(scope="session")
def no_build_page(no_build: Results) -> str:
    return html(no_build)
