"""What all tests share: examples that hypothesis makes are the same in every run, and no machine is too slow for them.

A run that looks for new ones: `pytest --hypothesis-profile=search`.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeat", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeat")
