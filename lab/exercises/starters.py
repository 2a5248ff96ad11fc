"""`python -m lab.exercises.starters [NAME…]`: keep the exercises' files, as they are now, as their starters.

For those who write exercises. `lab reset` gives a student these copies back, byte for byte.
"""

from __future__ import annotations

import sys

from lab.exercises.catalog import STARTERS, exercises

if __name__ == "__main__":
    for exercise in exercises():
        if not sys.argv[1:] or exercise.name in sys.argv[1:]:
            (STARTERS / f"{exercise.name}.txt").write_bytes(exercise.file.read_bytes())
            print(exercise.name)
