"""The store never goes back, whatever the order of the news, and a list makes up for lost ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.decision import Object
from batchfleet_operator.store import Key, Store

CHAT = Key("team", "chat")


def pod(name: str, version: int, service: str = "chat") -> Object:
    return {
        "kind": "Pod",
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": f"{name}-{version}",
            "resourceVersion": str(version),
            "labels": {"batchfleet.io/service": service},
            "managedFields": [{"manager": "kubelet"}],
        },
    }


def parent(version: int, **metadata: object) -> Object:
    stated = {"namespace": "team", "name": "chat", "resourceVersion": str(version)} | metadata
    return {"kind": "BatchInferenceService", "metadata": stated, "status": {"seen": version}}


def names(store: Store) -> list[str]:
    return [child["metadata"]["name"] for child in store.children(CHAT)]


def test_an_older_version_is_refused_and_an_echo_wakes_nobody() -> None:
    store = Store()
    assert store.put(pod("a", 5)) == {CHAT}
    assert store.put(pod("a", 5)) == set()
    assert store.put(pod("a", 4)) == set()
    assert store.get("Pod", "team", "a") is not None
    assert store.children(CHAT)[0]["metadata"]["resourceVersion"] == "5"


def test_what_is_gone_does_not_come_back_by_late_news() -> None:
    store = Store()
    store.put(pod("a", 5))
    assert store.remove(pod("a", 9)) == {CHAT}
    assert store.put(pod("a", 8)) == set()
    assert names(store) == []
    assert store.put(pod("a", 12)) == {CHAT}  # made anew
    assert store.remove(pod("a", 11)) == set()
    assert names(store) == ["a"]


def test_a_list_ends_what_no_event_told_the_end_of() -> None:
    store = Store()
    store.put(pod("a", 5))
    store.put(pod("young", 30))  # newer than the list: the watch was faster
    assert store.refresh("Pod", None, [pod("b", 7)], 20) == {CHAT}
    assert names(store) == ["b", "young"]
    assert store.put(pod("a", 6)) == set()  # the answer to a write, late


def test_a_kind_that_is_no_longer_served_took_its_objects_along_and_may_bring_them_again() -> None:
    store = Store()
    store.put(pod("a", 5))
    store.drop("Deployment")
    assert names(store) == ["a"]
    store.drop("Pod")
    assert names(store) == []
    assert store.put(pod("a", 5)) == {CHAT}


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    store = Store()
    store.put(pod("a", 5))
    assert store.refresh("Pod", "other", [], 20) == set()
    assert store.refresh("Deployment", None, [], 20) == set()
    assert names(store) == ["a"]


def test_only_what_somebody_means_by_a_service_wakes() -> None:
    store = Store()
    assert store.put(parent(1, generation=1)) == {CHAT}
    assert store.put(parent(2, generation=1)) == set()
    current = store.parent(CHAT)
    assert current is not None
    assert current["status"] == {"seen": 2}
    assert store.put(parent(3, generation=2)) == {CHAT}
    assert store.put(parent(4, generation=2, labels={"team": "a"})) == {CHAT}
    assert store.put(parent(5, generation=2, labels={"team": "a"}, annotations={})) == {CHAT}


def test_both_services_hear_of_a_child_that_changes_hands() -> None:
    store = Store()
    store.put(pod("a", 5))
    assert store.put(pod("a", 6, service="other")) == {CHAT, Key("team", "other")}
    assert names(store) == []


NAMES = ("a", "b", "c")


@given(st.data())
def test_any_order_of_late_repeated_and_lost_news_ends_in_what_is_there(
    data: st.DataObject,
) -> None:
    """A history, told in any order, with repeats and losses; then a list."""
    there: dict[str, Object] = {}
    news: list[tuple[str, Object]] = []
    for version in range(1, data.draw(st.integers(1, 25)) + 1):
        name = data.draw(st.sampled_from(NAMES))
        if name in there and data.draw(st.booleans()):
            del there[name]
            news.append(("gone", pod(name, version)))
        else:
            there[name] = pod(name, version)
            news.append(("is", there[name]))

    store = Store()
    seen: dict[str, int] = {}
    told = data.draw(st.lists(st.sampled_from(news), max_size=40))
    for what, object_ in told:
        (store.remove if what == "gone" else store.put)(object_)
        for child in store.children(CHAT):
            name, version = child["metadata"]["name"], int(child["metadata"]["resourceVersion"])
            assert version >= seen.get(name, 0)
            seen[name] = version
    store.refresh("Pod", None, there.values(), len(news))
    assert {child["metadata"]["uid"] for child in store.children(CHAT)} == {
        object_["metadata"]["uid"] for object_ in there.values()
    }
    assert all("managedFields" not in child["metadata"] for child in store.children(CHAT))
