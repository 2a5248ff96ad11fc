"""Keeps the calls under way in a set of tickets; the state is computed from the moment of opening."""


class Ticket:
    pass


class Consecutive:
    def __init__(self, failures=5, open_for=10.0, probes=3):
        self.failures, self.open_for, self.probes = failures, open_for, probes
        self.reason = ""
        self._close()

    def _close(self):
        self._opened = None
        self._trying = False
        self._calls = set()
        self._run = self._good = 0

    def _open(self, now):
        self._close()
        self._opened = now

    def state(self, now):
        if self._opened is None:
            return "closed"
        return "open" if now < self._opened + self.open_for else "half_open"

    def acquire(self, now):
        state = self.state(now)
        if state == "open" or (state == "half_open" and len(self._calls) + self._good >= self.probes):
            return None
        ticket = Ticket()
        self._calls.add(ticket)
        return ticket

    def _known(self, ticket):
        known = ticket in self._calls
        self._calls.discard(ticket)
        return known

    def success(self, permission, now, duration):
        if self._known(permission):
            self._run = 0
            if self._opened is not None:
                self._good += 1
                if self._good >= self.probes:
                    self._close()

    def failure(self, permission, now, duration):
        if self._known(permission):
            self._run += 1
            if self._opened is not None or self._run >= self.failures:
                self._open(now)

    def release(self, permission, now):
        self._known(permission)

    def retry_after(self, now):
        match self.state(now):
            case "closed":
                return 0
            case "open":
                return self._opened + self.open_for - now
        return 1.0 if len(self._calls) + self._good >= self.probes else 0
