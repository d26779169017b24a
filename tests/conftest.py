"""How Hypothesis tests: loaded before test modules, whose own settings are made from it."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "explore",
    settings.get_profile("default"),
    deadline=None,  # a busy machine is slow now and then
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "suite",
    settings.get_profile("explore"),
    derandomize=True,  # no change is refused for a rare counterexample in code that it left alone
)
settings.load_profile("suite")
