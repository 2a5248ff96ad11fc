"""The checks of exercise 15."""

from __future__ import annotations

import random
import re

from lab.exercises.kit import Failure, Student, Thing, check, expect, expect_that

TOTAL = "gateway_requests_total"
SECONDS = "gateway_request_duration_seconds"
SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'\s*([a-zA-Z_]\w*)="((?:[^"\\]|\\[\\"n])*)"\s*(?:,|$)')
COUNTED = ("test_requests_are_counted",)
TIMED = ("test_buckets_are_cumulative",)
DISGUISE = {"words": ("service",)}
"""What a grader asks in other words: see `lab.grading.disguise`."""

Sample = tuple[str, tuple[tuple[str, str], ...]]


def metrics(student: Student, *buckets: float) -> Thing:
    made = student.new("Metrics", buckets=list(buckets)) if buckets else student.new("Metrics")
    return made.answering(render=str, observe=None)


def samples(some: Thing, mistake: str = "format") -> dict[Sample, float]:
    """The lines of the text that are no comment, by name and labels."""
    found: dict[Sample, float] = {}
    for line in some.render().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = SAMPLE.fullmatch(line)
        labels: list[tuple[str, str]] = []
        rest = (match[2] or "") if match else ""
        while match and rest:
            label = LABEL.match(rest)
            if label is None:
                match = None
                break
            value = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], label[2])
            labels.append((label[1], value))
            rest = rest[label.end() :]
        try:
            number = float(match[3]) if match else None
        except ValueError:
            number = None
        if match is None or number is None:
            raise Failure('lines such as name{label="value"} 1', repr(line), mistake=mistake)
        key = (match[1], tuple(sorted(labels)))
        if key in found:
            raise Failure("each name with its labels once", f"twice: {line}", mistake=mistake)
        found[key] = number
    return found


def total(method: str, service: str, status: int) -> Sample:
    return TOTAL, (("method", method), ("service", service), ("status", str(status)))


def buckets_of(some: Thing, service: str) -> list[tuple[float, float]]:
    """(upper bound, value), from small to large."""
    found = []
    for (name, labels), value in samples(some).items():
        if name == f"{SECONDS}_bucket" and dict(labels).get("service") == service and "le" in dict(labels):
            found.append((float(dict(labels)["le"]), value))
    return sorted(found)


@check(
    points=4,
    why="A counter that only grows can be read at any time, by anybody, and nothing is lost in between.",
    look=f"{TOTAL} with the labels method, service and status, and a number behind a space",
    mistake="count",
)
def test_requests_are_counted(student: Student) -> None:
    some = metrics(student)
    for _ in range(3):
        some.observe("GET", "service-a", 200, 0.25)
    expect(samples(some).get(total("GET", "service-a", 200)), 3.0, of="GETs to service-a, answered 200")
    some.observe("GET", "service-a", 200, 0.25)
    expect(samples(some).get(total("GET", "service-a", 200)), 4.0, of="the same, after one more")


@check(
    points=2,
    why="That something fails is worth knowing; which service, and how, is worth more.",
    after=COUNTED,
    look="what you count by: all three of method, service and status",
    mistake="labels",
)
def test_each_combination_is_counted_alone(student: Student) -> None:
    some = metrics(student)
    asked = [("GET", "service-a", 200), ("POST", "service-a", 200), ("GET", "service-b", 200)]
    asked += [("GET", "service-a", 404), ("GET", "service-a", 200)]
    for method, service, status in asked:
        some.observe(method, service, status, 0.25)
    got = {key: value for key, value in samples(some).items() if key[0] == TOTAL}
    expect(
        sorted(got.items()), sorted((total(*a), float(asked.count(a))) for a in set(asked)), of="the counters"
    )


@check(
    points=3,
    why="Prometheus reads what is written as the format says, and throws away everything else.",
    after=COUNTED,
    look="one # TYPE (and # HELP) for each family, before its first line; a line break at the very end",
    mistake="format",
)
def test_families_are_announced(student: Student) -> None:
    some = metrics(student)
    for service in ("service-a", "service-b"):
        some.observe("GET", service, 200, 0.25)
    text = some.render()
    expect_that(text.endswith("\n"), "a line break at the very end", repr(text[-30:]))
    lines = text.splitlines()
    for family, kind in ((TOTAL, "counter"), (SECONDS, "histogram")):
        expect(lines.count(f"# TYPE {family} {kind}"), 1, of=f"lines # TYPE {family} {kind}")
        mine = [n for n, line in enumerate(lines) if re.match(rf"(# (TYPE|HELP) )?{family}", line)]
        expect_that(lines[mine[0]].startswith("#"), f"# TYPE {family} before its values", lines[mine[0]])
        expect(mine, list(range(mine[0], mine[0] + len(mine))), of=f"the lines about {family} stand together")


@check(
    points=4,
    why="Buckets that contain each other can be added up over ten gateways; an average cannot.",
    after=COUNTED,
    look="each bucket counts all requests that took no longer than its bound: the smaller ones too",
    mistake="cumulative",
)
def test_buckets_are_cumulative(student: Student) -> None:
    wanted = [(0.1, 1.0), (0.5, 3.0), (1.0, 4.0), (float("inf"), 5.0)]
    for some in (metrics(student, 0.1, 0.5, 1.0), metrics(student)):  # the same bounds: they are the default
        for seconds in (0.05, 0.25, 0.3, 0.75, 4.0):
            some.observe("GET", "service-a", 200, seconds)
        got = buckets_of(some, "service-a")
        mistake = "inf" if got == wanted[:3] else ""
        expect(str(got), str(wanted), of="(le, value) of each bucket", mistake=mistake)


@check(
    points=2,
    why="le means less or equal: a request of exactly a tenth of a second is one of a tenth of a second.",
    after=TIMED,
    look="a duration that is equal to a bound",
    mistake="boundary",
)
def test_a_bound_belongs_to_its_bucket(student: Student) -> None:
    some = metrics(student, 0.25, 0.5)
    some.observe("GET", "service-a", 200, 0.25)
    some.observe("GET", "service-a", 200, 0.5)
    expect([value for _, value in buckets_of(some, "service-a")], [1.0, 2.0, 2.0], of="le 0.25, 0.5 and +Inf")


@check(
    points=3,
    why="Sum and count give the average over any time, by the difference of two readings.",
    after=COUNTED,
    look=f"{SECONDS}_sum and _count, with the label service alone",
    mistake="sum",
)
def test_sum_and_count(student: Student) -> None:
    some = metrics(student, 0.25, 0.5)
    for method, status, seconds in (("GET", 200, 0.25), ("POST", 500, 0.5), ("GET", 200, 8.0)):
        some.observe(method, "service-a", status, seconds)
    some.observe("GET", "service-b", 200, 0.125)
    found = samples(some)
    for service, wanted in (("service-a", [8.75, 3.0]), ("service-b", [0.125, 1.0])):
        label = (("service", service),)
        got = [found.get((f"{SECONDS}_{what}", label)) for what in ("sum", "count")]
        expect(got, wanted, of=f"sum and count of {service}", within=1e-9)


@check(
    points=3,
    why="One name with a quote in it must not make the whole page unreadable.",
    after=COUNTED,
    look="backslash, quote and line break in a label's value, the backslash first",
    mistake="escape",
)
def test_label_values_are_escaped(student: Student) -> None:
    some = metrics(student)
    names = ['a"b', "a\\b", "a\nb", "a\\nb"]
    for name in names:
        some.observe("GET", name, 200, 0.25)
    got = sorted(
        dict(labels)["service"] for (name, labels) in samples(some, mistake="escape") if name == TOTAL
    )
    expect(got, sorted(names), of="the services, read back")


@check(
    points=3,
    why="Each value of a label is kept for ever; a client that invents methods must not fill the memory.",
    after=COUNTED,
    look="the method's label: those in METHODS, and OTHER for all the rest",
    mistake="cardinality",
)
def test_invented_methods_share_a_label(student: Student) -> None:
    some = metrics(student)
    for n in range(20):
        some.observe(f"HACK{n}", "service-a", 405, 0.25)
    some.observe("PATCH", "service-a", 200, 0.25)
    got = {key: value for key, value in samples(some).items() if key[0] == TOTAL}
    wanted = {total("OTHER", "service-a", 405): 20.0, total("PATCH", "service-a", 200): 1.0}
    expect(sorted(got.items()), sorted(wanted.items()), of="the counters")


@check(
    points=1,
    why="What one object has counted is nobody else's.",
    after=COUNTED,
    look="where the tables live: in the object, or in the class, for all",
    mistake="class-attribute",
)
def test_two_objects_share_nothing(student: Student) -> None:
    first, second = metrics(student), metrics(student)
    first.observe("GET", "service-a", 200, 0.25)
    expect(samples(second), {}, of="what the second object has counted")


@check(
    points=2,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=TIMED,
    look="many requests, with bounds of all sizes",
    mistake="cumulative",
)
def test_any_traffic(student: Student) -> None:
    numbers = random.Random(student.seed)
    bounds = sorted(numbers.sample([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0], 4))
    some = metrics(student, *bounds)
    took = [numbers.choice([0.0625, 0.125, 0.3, 0.5, 1.5, 2.0, 8.0, 60.0]) for _ in range(200)]
    for seconds in took:
        some.observe("GET", "service-a", 200, seconds)
    wanted = [float(sum(s <= bound for s in took)) for bound in (*bounds, float("inf"))]
    expect([value for _, value in buckets_of(some, "service-a")], wanted, of="the buckets")
