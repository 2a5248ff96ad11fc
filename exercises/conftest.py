"""Plain pytest runs the checks of the exercises as `lab check` does: see lab/exercises/plugin.py."""

pytest_plugins = ["lab.exercises.plugin", "lab.grading.plugin"]
