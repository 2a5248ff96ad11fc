from __future__ import annotations

from lab.policies.rate_limit.clients import Client, Clients


def remember(clients: Clients[Client], key: str, used: int, now: float) -> float:
    """Note an admission as the algorithms do; the wait where there is no room."""
    client = clients.get(key)
    if client is None:
        wait = clients.room(now)
        if wait:
            return wait
        client = Client()
    clients.admitted(key, client, used, now)
    return 0.0


def known(clients: Clients[Client]) -> set[object]:
    return {key for key, _, _ in clients.heaviest(1000)}


def test_those_who_are_as_good_as_new_go_first_however_much_they_used() -> None:
    clients: Clients[Client] = Clients(limit=8, window=10.0, maximum=3)
    remember(clients, "spent", 8, 0.0)
    remember(clients, "light", 1, 1.0)
    remember(clients, "heavy", 7, 1.0)
    remember(clients, "new", 1, 10.0)
    assert known(clients) == {"light", "heavy", "new"}


def test_then_those_who_used_least_the_oldest_of_them_first() -> None:
    clients: Clients[Client] = Clients(limit=8, window=100.0, maximum=4)
    for now, (key, used) in enumerate([("spent", 8), ("heavy", 4), ("first", 1), ("second", 1)]):
        remember(clients, key, used, now)
    for now, key in enumerate(["a", "b", "c"], start=5):
        assert remember(clients, key, 1, now) == 0.0
    assert known(clients) == {"spent", "heavy", "b", "c"}


def test_an_admission_moves_a_client_to_the_back_and_up() -> None:
    clients: Clients[Client] = Clients(limit=8, window=100.0, maximum=2)
    remember(clients, "a", 1, 0.0)
    remember(clients, "b", 1, 1.0)
    remember(clients, "a", 1, 2.0)  # an older one had left its window meanwhile
    remember(clients, "c", 1, 3.0)
    assert known(clients) == {"a", "c"}
    remember(clients, "a", 2, 4.0)
    remember(clients, "c", 1, 5.0)
    remember(clients, "d", 1, 6.0)
    assert known(clients) == {"a", "d"}


def test_never_those_who_used_all() -> None:
    clients: Clients[Client] = Clients(limit=2, window=100.0, maximum=2)
    remember(clients, "a", 2, 0.0)
    remember(clients, "b", 3, 30.0)
    assert remember(clients, "c", 1, 40.0) == 60.0
    assert known(clients) == {"a", "b"}
    assert len(clients) == 2


def test_the_heaviest_are_told_oldest_first() -> None:
    clients: Clients[Client] = Clients(limit=100, window=10.0, maximum=9)
    for now, used in enumerate([1, 100, 3, 64, 30]):
        remember(clients, str(used), used, float(now))
    assert [(key, last) for key, _, last in clients.heaviest(3)] == [("100", 1.0), ("64", 3.0), ("30", 4.0)]
