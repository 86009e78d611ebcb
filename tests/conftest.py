"""Settings shared by all tests."""

from hypothesis import settings

# Machines differ in speed and are shared: a slow example is no failure.
settings.register_profile("tapeout", deadline=None)
settings.load_profile("tapeout")
