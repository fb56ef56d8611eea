"""A pytest plugin for runs against mutants: property tests try the same examples each time, and stop when one fails.

What it leaves out would cost minutes and change no verdict: failing examples are not shrunk, nor kept for the next
mutant. A busy machine must not look like a killed mutant, so nothing fails for being slow.
"""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutation",
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
