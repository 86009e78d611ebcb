"""Conversion factors. A literal factor elsewhere fails a test.

GB is 1e9 bytes and GiB is 2**30 bytes: a data file must choose.
"""

KILO = 1e3
MEGA = 1e6
GIGA = 1e9
TERA = 1e12
PETA = 1e15
EXA = 1e18
MILLI = 1e-3
MICRO = 1e-6
NANO = 1e-9
PICO = 1e-12

KIB = 2**10
MIB = 2**20
GIB = 2**30
TIB = 2**40

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0
YEAR_S = 31_536_000.0  # 365 days, the convention of the $/Mtok formula
YEAR_DAYS = 365.0
CALENDAR_YEAR_DAYS = 365.25  # between dates, where leap years count
YEAR_HOURS = 8760.0
QUARTERS_PER_YEAR = 4
MONTHS_PER_YEAR = 12
MONTHS_PER_QUARTER = 3
QUARTER_S = YEAR_S / QUARTERS_PER_YEAR
QUARTER_HOURS = YEAR_HOURS / QUARTERS_PER_YEAR
MONTH_DAYS = YEAR_DAYS / MONTHS_PER_YEAR

JOULE_PER_KWH = 3.6e6
PERCENT = 1e-2
MTOK = 1e6  # tokens in one "Mtok", the unit of every token price
BITS_PER_BYTE = 8
FLOP_PER_MAC = 2  # one multiply-add counts as two
CM2_PER_MM2 = 1e-2
MM2_PER_CM2 = 1e2

Z90 = 1.6448536269514722  # standard normal quantile of 0.95: half width of a 5-95 % range
Z80 = 1.2815515655446004  # standard normal quantile of 0.90: half width of a 10-90 % range
