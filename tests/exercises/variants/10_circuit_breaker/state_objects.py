"""The state pattern: one object per state that is entered; a permission is a pair with that object in it."""


class Closed:
    name = "closed"

    def __init__(self, owner):
        self.owner, self.run = owner, 0

    def admits(self, now):
        return True

    def good(self, now):
        self.run = 0

    def bad(self, now):
        self.run += 1
        if self.run >= self.owner.failures:
            self.owner.current = Open(self.owner, now)

    def back(self):
        pass

    def wait(self, now):
        return 0.0


class Open:
    name = "open"

    def __init__(self, owner, now):
        self.owner, self.end = owner, now + owner.open_for

    def admits(self, now):
        return False

    def wait(self, now):
        return max(0.0, self.end - now)


class HalfOpen:
    name = "half_open"

    def __init__(self, owner, now):
        self.owner, self.started, self.left, self.missing = owner, now, owner.probes, owner.probes

    def admits(self, now):
        if self.left:
            self.left -= 1
            return True
        return False

    def good(self, now):
        self.missing -= 1
        if not self.missing:
            self.owner.current = Closed(self.owner)

    def bad(self, now):
        self.owner.current = Open(self.owner, now)

    def back(self):
        self.left += 1

    def wait(self, now):
        return 0.0 if self.left else self.owner.open_for / 2


class Consecutive:
    def __init__(self, failures=5, open_for=10.0, probes=3):
        self.failures, self.open_for, self.probes = failures, open_for, probes
        self.current = Closed(self)

    def _now(self, now):
        if isinstance(self.current, Open) and self.current.end <= now:
            self.current = HalfOpen(self, now)
        return self.current

    def acquire(self, now):
        return (self.current, now) if self._now(now).admits(now) else None

    def success(self, permission, now, duration):
        if permission[0] is self.current:
            self.current.good(now)

    def failure(self, permission, now, duration):
        if permission[0] is self.current:
            self.current.bad(now)

    def release(self, permission, now):
        if permission[0] is self.current:
            self.current.back()

    def state(self, now):
        return self._now(now).name

    def retry_after(self, now):
        return self._now(now).wait(now)
