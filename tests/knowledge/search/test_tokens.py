from moduai.knowledge.search import tokens


def test_grams_are_of_one_word() -> None:
    assert tokens.grams("손해배상 및 이자") == ["손해", "해배", "배상", "및", "이자"]


def test_foreign_words_lose_their_plural_and_articles_their_notes() -> None:
    assert tokens.grams("The policies of a bus, GPUs") == ["polic", "bus", "gpu"]
    assert tokens.grams("policy") == ["polic"]
    assert tokens.line("제1조(목적) <개정 2014.1.1> 법") == "제 1 조 목적 법"


def test_morphemes_leave_out_particles() -> None:
    found = tokens.Morphemes()
    assert not found.ready
    assert {"임대인", "보증금"} <= set(found.of("임대인은 보증금을 돌려준다"))
    assert found.ready
    assert "은" not in found.of("임대인은")
