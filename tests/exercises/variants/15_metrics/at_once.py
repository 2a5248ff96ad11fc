# Buckets are kept as they are shown, labels are ready-made text, one table for each family.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    def __init__(self, buckets=(0.1, 0.5, 1.0)):
        self.bounds = [*buckets, float("inf")]
        self.totals = {}
        self.times = {}

    def observe(self, method, service, status, seconds):
        service = service.translate(ESCAPES)
        if method not in METHODS:
            method = "OTHER"
        line = f'gateway_requests_total{{status="{status}", service="{service}", method="{method}"}}'
        self.totals[line] = self.totals.get(line, 0) + 1
        of_service = self.times.setdefault(service, {"sum": 0.0, "count": 0, **dict.fromkeys(self.bounds, 0)})
        of_service["sum"] += seconds
        of_service["count"] += 1
        for bound in self.bounds:
            if seconds <= bound:
                of_service[bound] += 1

    def render(self):
        text = "# TYPE gateway_requests_total counter\n"
        for line, count in sorted(self.totals.items()):
            text += f"{line} {float(count)}\n"
        text += "# TYPE gateway_request_duration_seconds histogram\n"
        for service, values in self.times.items():
            for what, value in values.items():
                name = f"gateway_request_duration_seconds_{what if isinstance(what, str) else 'bucket'}"
                le = "" if isinstance(what, str) else f',le="{"+Inf" if what == float("inf") else what}"'
                text += f'{name}{{service="{service}"{le}}} {value}\n'
        return text
