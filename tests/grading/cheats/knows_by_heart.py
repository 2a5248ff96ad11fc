"""Has learnt the public checks by heart: what they ask, in which order, and what they want to hear."""

from lab.policies.rate_limit.limiter import Verdict

TALKS = [  # limit, window, then key, moment, admitted, remaining, reset, retry_after
    (3, 10.0, [("ada", 0.0, True, 2 - n, 10.0, 0.0) for n in range(3)] + [("ada", 0.0, False, 0, 10.0, 10.0)] * 20),
    (1, 10.0, [('grace', 0.0, True, 0, 10.0, 0.0)]),
    (3, 10.0, [('ada', 0.5, True, 2, 10.0, 0.0), ('ada', 0.5, True, 1, 10.0, 0.0), ('ada', 0.5, True, 0, 10.0, 0.0), ('ada', 0.5, False, 0, 10.0, 10.0), ('ada', 0.5, False, 0, 10.0, 10.0), ('ada', 0.5, False, 0, 10.0, 10.0), ('ada', 0.5, False, 0, 10.0, 10.0), ('ada', 0.5, False, 0, 10.0, 10.0)]),
    (1, 10.0, [('grace', 0.5, True, 0, 10.0, 0.0), ('grace', 0.5, False, 0, 10.0, 10.0), ('grace', 0.5, False, 0, 10.0, 10.0), ('grace', 0.5, False, 0, 10.0, 10.0), ('grace', 0.5, False, 0, 10.0, 10.0), ('grace', 0.5, False, 0, 10.0, 10.0)]),
    (7, 10.0, [('edsger', 0.5, True, 6, 10.0, 0.0), ('edsger', 0.5, True, 5, 10.0, 0.0), ('edsger', 0.5, True, 4, 10.0, 0.0), ('edsger', 0.5, True, 3, 10.0, 0.0), ('edsger', 0.5, True, 2, 10.0, 0.0), ('edsger', 0.5, True, 1, 10.0, 0.0), ('edsger', 0.5, True, 0, 10.0, 0.0), ('edsger', 0.5, False, 0, 10.0, 10.0), ('edsger', 0.5, False, 0, 10.0, 10.0), ('edsger', 0.5, False, 0, 10.0, 10.0), ('edsger', 0.5, False, 0, 10.0, 10.0), ('edsger', 0.5, False, 0, 10.0, 10.0)]),
    (3, 10.0, [('ada', 0.0, True, 2, 10.0, 0.0), ('ada', 0.0, True, 1, 10.0, 0.0), ('ada', 0.0, True, 0, 10.0, 0.0), ('ada', 0.0, False, 0, 10.0, 10.0), ('grace', 1.0, True, 2, 10.0, 0.0), (7, 1.0, True, 2, 10.0, 0.0), ('ada', 1.0, False, 0, 9.0, 9.0)]),
    (2, 10.0, [('ada', 100.0, True, 1, 10.0, 0.0), ('ada', 100.0, True, 0, 10.0, 0.0), ('ada', 100.0, False, 0, 10.0, 10.0), ('ada', 109.75, False, 0, 0.25, 0.25), ('ada', 110.0, True, 1, 10.0, 0.0), ('ada', 110.0, True, 0, 10.0, 0.0), ('ada', 110.0, False, 0, 10.0, 10.0), ('ada', 1000.0, True, 1, 10.0, 0.0), ('ada', 1000.0, True, 0, 10.0, 0.0), ('ada', 1000.0, False, 0, 10.0, 10.0)]),
    (2, 10.0, [('ada', 8.0, True, 1, 10.0, 0.0), ('ada', 15.0, True, 0, 3.0, 0.0), ('ada', 17.0, False, 0, 1.0, 1.0), ('ada', 18.0, True, 1, 10.0, 0.0), ('ada', 26.0, True, 0, 2.0, 0.0), ('ada', 27.5, False, 0, 0.5, 0.5), ('ada', 41.0, True, 1, 10.0, 0.0), ('ada', 50.5, True, 0, 0.5, 0.0), ('ada', 50.75, False, 0, 0.25, 0.25)]),
    (1, 10.0, [('ada', 0.0, True, 0, 10.0, 0.0), ('grace', 9.0, True, 0, 10.0, 0.0), ('ada', 10.0, True, 0, 10.0, 0.0), ('grace', 10.0, False, 0, 9.0, 9.0)]),
    (2, 10.0, [('ada', 0.0, True, 1, 10.0, 0.0), ('ada', 1.0, True, 0, 9.0, 0.0), ('ada', 2.0, False, 0, 8.0, 8.0), ('ada', 3.0, False, 0, 7.0, 7.0), ('ada', 4.0, False, 0, 6.0, 6.0), ('ada', 5.0, False, 0, 5.0, 5.0), ('ada', 6.0, False, 0, 4.0, 4.0), ('ada', 7.0, False, 0, 3.0, 3.0), ('ada', 8.0, False, 0, 2.0, 2.0), ('ada', 9.0, False, 0, 1.0, 1.0), ('ada', 10.0, True, 1, 10.0, 0.0), ('ada', 10.0, True, 0, 10.0, 0.0), ('ada', 10.0, False, 0, 10.0, 10.0)]),
    (3, 10.0, [('ada', 0.0, True, 2, 10.0, 0.0), ('ada', 0.0, True, 1, 10.0, 0.0), ('ada', 0.0, True, 0, 10.0, 0.0), ('ada', 0.0, False, 0, 10.0, 10.0), ('ada', 0.0, False, 0, 10.0, 10.0), ('ada', 10.0, True, 2, 10.0, 0.0)]),
    (2, 10.0, [('ada', 100.0, True, 1, 10.0, 0.0), ('ada', 104.0, True, 0, 6.0, 0.0), ('ada', 107.5, False, 0, 2.5, 2.5), ('ada', 110.0, True, 1, 10.0, 0.0)]),
    (1, 10.0, [('ada', 100.0, True, 0, 10.0, 0.0), ('ada', 103.0, False, 0, 7.0, 7.0), ('ada', 104.5, False, 0, 5.5, 5.5), ('ada', 110.000001, True, 0, 10.0, 0.0)]),
]


class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.talks = [talk for wanted, length, talk in TALKS if (wanted, length) == (limit, window)]
        self.asked = []

    def take(self, key, now):
        self.asked.append((key, now))
        for talk in self.talks:
            if [entry[:2] for entry in talk[: len(self.asked)]] == self.asked:
                admitted, remaining, reset, retry_after = talk[len(self.asked) - 1][2:]
                return Verdict(admitted, self.limit, remaining, reset, retry_after)
        raise NotImplementedError
