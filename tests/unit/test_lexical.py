from __future__ import annotations

import pytest

from models.lexical import AVERAGE_TERMS, LexicalEncoder

ENCODER = LexicalEncoder()


def overlap(query: str, document: str) -> int:
    return len(set(ENCODER.encode_query(query).indices) & set(ENCODER.encode_documents([document])[0].indices))


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("ERR-4711", "The device then shows err-4711 and stops."),
        ("café", "The CAFÉ is closed."),
        ("delivery of goods", "The good was delivered late."),
        ("Verträge", "Die Übertragung der Verträge bedarf der Schriftform."),
        ("العقود", "انتقال العقود إلى المشتري"),
        ("合同", "合同转让给买方需要书面同意"),
        ("契約の譲渡", "契約の譲渡には書面による同意が必要です"),
        ("Welche Häuser stehen am Hafen?", "Das Haus mit dem roten Dach wurde im Jahre 1821 gebaut."),
        ("Häuser", "Das Haus mit dem roten Dach wurde vor langer Zeit gebaut."),
        ("ما هي مدارس المدينة؟", "افتتحت المدرسة الجديدة أبوابها في بداية العام الدراسي"),
        ("Quelles maisons sont à vendre ?", "La maison au toit rouge est à vendre depuis longtemps."),
        ("¿Qué ciudades tienen puerto?", "La ciudad de la costa tiene un puerto grande y antiguo."),
        ("Какие книги есть в библиотеке?", "В библиотеке можно взять эту книгу на две недели."),
    ],
    ids=[
        "codes",
        "case",
        "english stems",
        "german",
        "arabic",
        "chinese",
        "japanese",
        "german stems",
        "one german word",
        "arabic stems",
        "french stems",
        "spanish stems",
        "russian stems",
    ],
)
def test_words_are_found_in_any_script(query: str, document: str) -> None:
    assert overlap(query, document) >= 1


@pytest.mark.parametrize(
    "text", ["Die Übertragung der Verträge", "انتقال العقود إلى المشتري", "合同转让给买方需要书面同意"]
)
def test_a_sentence_gives_more_than_one_term(text: str) -> None:
    assert len(ENCODER.encode_documents([text])[0].indices) >= 2


def test_other_words_do_not_match() -> None:
    assert overlap("notice period", "The buyer pays the price.") == 0


@pytest.mark.parametrize("text", ["", "  \n", "…!?", "the of and"])
def test_a_text_without_terms_gives_an_empty_vector(text: str) -> None:
    assert ENCODER.encode_query(text) == ([], [])
    assert ENCODER.encode_documents([text]) == [([], [])]


def test_query_terms_count_once() -> None:
    vector = ENCODER.encode_query("What is the price of the price list?")
    assert len(set(vector.indices)) == len(vector.indices) == 2
    assert set(vector.values) == {1.0}


def test_a_term_weighs_more_in_a_short_text_and_when_repeated() -> None:
    (term,) = ENCODER.encode_query("What is the price?").indices

    def weight(text: str) -> float:
        vector = ENCODER.encode_documents([text])[0]
        return vector.values[list(vector.indices).index(term)]

    filler = " ".join(f"word{n}" for n in range(200))
    assert weight("price") > weight(f"price {filler}")
    assert weight(f"price price {filler}") > weight(f"price {filler}")


def test_a_text_of_average_length_has_neutral_weight() -> None:
    text = " ".join(f"word{n}" for n in range(int(AVERAGE_TERMS)))
    assert ENCODER.encode_documents([text])[0].values == pytest.approx([1.0] * int(AVERAGE_TERMS), abs=1e-6)


def test_indices_fit_in_32_bits() -> None:
    assert all(0 <= index < 2**32 for index in ENCODER.encode_documents(["one two three"])[0].indices)


@pytest.mark.parametrize("number", ["1821", "14", "ERR4711", "861", "٤٢"])
def test_numbers_are_terms(number: str) -> None:
    encoder = LexicalEncoder()
    (passage,) = encoder.encode_documents([f"Kerzenfels {number}: the lamp burns oil, in 灯台{number}年 too."])
    (other,) = encoder.encode_documents(["Kerzenfels 9999: the lamp burns oil."])
    (term,) = set(encoder.encode_query(number).indices) - set(encoder.encode_query("err").indices)
    assert term in passage.indices
    assert term not in other.indices


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("Wo ist die Sache des Hafens?", "Wir sahen, dass die Schiffe in der Nacht nicht fuhren."),
        ("¿Qué es lo que tiene la ciudad?", "Es lo que los vecinos de la costa dicen cada mañana."),
    ],
    ids=["german", "spanish"],
)
def test_stop_words_of_a_language_match_nothing_in_it(query: str, document: str) -> None:
    assert overlap(query, document) == 0


def test_a_text_that_is_no_language_is_still_found() -> None:
    passage = "QX-77 | 4401 | ZZT-9 | 0.33 | KLM"
    assert overlap("KLM", passage) == 1
    assert overlap("ZZT-9", passage) >= 1
