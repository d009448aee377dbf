"""Texts and their tokens. Each table was asked of Qdrant's own engine (Qdrant Edge 0.9) as well."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from vecdb.errors import InvalidInputError
from vecdb.models import (
    Language,
    MatchPhrase,
    MatchText,
    MatchTextAny,
    SnowballLanguage,
    TextIndexParams,
    coerce,
)
from vecdb.payload.texts import (
    BREAK,
    document_test,
    parts_of,
    query_tokenizer,
    tokenizer,
    words_of,
)
from vecdb.payload.words import _listed, folded

ENGLISH = {"type": "snowball", "language": "english"}


def index(**params: Any) -> TextIndexParams:
    return coerce(TextIndexParams, {"type": "text", **params})


def finds(
    kind: str, query: str, texts: str | list[str], params: TextIndexParams | None = None
) -> bool:
    match: Any = {"text": MatchText, "text_any": MatchTextAny, "phrase": MatchPhrase}[kind]
    document = [texts] if isinstance(texts, str) else texts
    test = document_test(match(**{kind: query}), *([] if params is None else [params]))
    return test(document)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ,. _", []),
        ("Hello, World!", ["Hello", "World"]),
        ("don't snake_case v1.2", ["don", "t", "snake", "case", "v1", "2"]),
        ("Привет, мир", ["Привет", "мир"]),
        ("a² ½ x", ["a²", "½", "x"]),
        ("e\u0301te", ["e", "te"]),  # an accent that stands by itself
        ("हिन्दी", ["हिन", "दी"]),  # cut at the virama, and at no vowel
        ("กำลัง شَيء", ["กำลัง", "شَيء"]),
        ("中文", ["中文"]),
    ],
)
def test_words_are_letters_and_digits_in_a_row(text: str, words: list[str]) -> None:
    assert words_of(text) == words
    assert tokenizer()(text) == [word.lower() for word in words]


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("getUserById", "get User By Id"),
        ("HTTPServer", "HTTP Server"),
        ("URLs", "URLs"),
        ("HTTPsFoo", "HTTPs Foo"),
        ("IDsx", "I Dsx"),
        ("ABx", "A Bx"),
        ("aHTTPs", "a HTTPs"),
        ("FOO2bar", "FOO2bar"),
        ("A1B2", "A1 B2"),
        ("AB12cd", "AB12cd"),
        ("foo1Bar", "foo1 Bar"),
        ("ABCd2", "AB Cd2"),
        ("aBC", "a BC"),
        ("2Foo", "2Foo"),
        ("a2Foo", "a2 Foo"),
        ("2ABc", "2ABc"),
        ("12AB", "12AB"),
        ("ABs2", "ABs2"),
        ("ABs2x", "ABs2x"),
        ("SQLsX", "SQLs X"),
        ("été2Fou", "été2 Fou"),
        ("ЖЗи", "Ж Зи"),
        ("中Bb", "中 Bb"),
        ("x64s", "x64s"),
    ],
)
def test_names_have_parts(word: str, parts: str) -> None:
    assert " ".join(parts_of(word)) == parts


@pytest.mark.parametrize(
    ("params", "text", "tokens"),
    [
        ({"tokenizer": "whitespace"}, "Hello, world! x", ["hello,", "world!", "x"]),
        ({"lowercase": False}, "Hello World", ["Hello", "World"]),
        ({"min_token_len": 2, "max_token_len": 3}, "a bb été dddd", ["bb", "été"]),
        ({"stemmer": ENGLISH}, "Running dogs connected", ["run", "dog", "connect"]),
        ({"stemmer": {"type": "none"}}, "Running", ["running"]),
        ({"stopwords": {"custom": ["THE"]}}, "The hello", ["hello"]),
        ({"stopwords": {"custom": ["the"]}, "lowercase": False}, "The the x", ["The", "x"]),
        ({"stopwords": "english"}, "the Cat and the hat", ["cat", "hat"]),
        ({"stopwords": {"languages": ["german", "english"]}}, "der the Hund", ["hund"]),
        (
            {"ascii_folding": True},
            "ação ÉTÉ straße Ørsted й",
            ["acao", "ete", "strasse", "orsted", "й"],
        ),
        ({"ascii_folding": True, "stopwords": {"custom": ["été"]}}, "été", ["ete"]),
        ({"tokenizer": "prefix"}, "abc d", ["a", "ab", "abc", "d"]),
        (
            {"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4},
            "hello abc x",
            ["he", "hel", "hell", "ab", "abc"],
        ),
        (
            {"tokenizer": "code"},
            "getUser snake_case",
            ["get", "user", "snake", "case", BREAK, "getuser"],
        ),
        ({"tokenizer": "multilingual"}, "École DON'T x2 й", ["ecole", "don", "t", "x2", "й"]),
        ({"tokenizer": "multilingual"}, "今天x 好", ["今", "今天", "天", "x", "好"]),
        ({"tokenizer": "multilingual"}, "Ελλάδα שָׁלוֹם مَرْحَبًا", ["ελλαδα", "שלום", "مرحبا"]),
    ],
)
def test_tokens_of_a_text(params: dict[str, Any], text: str, tokens: list[str]) -> None:
    assert tokenizer(index(**params))(text) == tokens


@pytest.mark.parametrize(
    ("params", "text", "tokens"),
    [
        ({"tokenizer": "prefix"}, "abc", ["abc"]),
        ({"tokenizer": "prefix", "max_token_len": 4}, "hello", ["hell"]),
        ({"tokenizer": "prefix", "min_token_len": 2}, "h he", ["he"]),
        ({"tokenizer": "prefix", "stopwords": {"custom": ["the"]}}, "the", ["the"]),
        ({"tokenizer": "code"}, "getUser", ["get", "user"]),
        ({"tokenizer": "multilingual"}, "今天好 天", ["今天", "天好", "天"]),
        ({"stopwords": {"custom": ["the"]}}, "the", []),
    ],
)
def test_tokens_of_a_query(params: dict[str, Any], text: str, tokens: list[str]) -> None:
    assert query_tokenizer(index(**params))(text) == tokens


def test_a_word_without_an_end_has_no_tokens_without_an_end() -> None:
    tokens = tokenizer(index(tokenizer="prefix"))("x" * 100_000)
    assert len(tokens) == 65
    assert max(map(len, tokens[:-1])) == 64
    assert len(tokens[-1]) == 100_000


@pytest.mark.parametrize(
    ("query", "text", "text_any", "phrase"),
    [
        ("", False, False, False),
        (".,", False, False, False),
        ("HELLO", True, True, True),
        ("hell", False, False, False),
        ("hello world", True, True, True),
        ("world hello", True, True, False),
        ("hello zzz", False, True, False),
        ("the hello", False, True, False),
        ("hello big", True, True, False),
    ],
)
def test_without_an_index_words_in_lower_case_decide(
    query: str, text: bool, text_any: bool, phrase: bool
) -> None:
    document = "Hello, world: big"
    assert finds("text", query, document) is text
    assert finds("text_any", query, document) is text_any
    assert finds("phrase", query, document) is phrase


def test_texts_of_a_document_count_together_and_a_phrase_stays_in_one() -> None:
    texts = ["alpha beta", "gamma delta"]
    assert finds("text", "alpha gamma", texts)
    assert finds("text_any", "delta zzz", texts)
    assert finds("phrase", "gamma delta", texts)
    assert not finds("phrase", "beta gamma", texts)
    assert not any(finds(kind, "a", []) for kind in ("text", "text_any", "phrase"))


def test_phrases_under_the_rules_of_an_index() -> None:
    stops = index(stopwords={"custom": ["and", "the"]})
    assert finds("phrase", "cat dog", "cat and dog", stops)
    assert finds("phrase", "cat the dog", "cat and dog", stops)
    assert not finds("phrase", "the", "the", stops)

    code = index(tokenizer="code")
    text = "head getUserById tail"
    found = ["get user", "getUserById", "getuserbyid", "id tail", "head get"]
    assert all(finds("phrase", phrase, text, code) for phrase in found)
    missed = ["get by", "getuserbyid tail", "id getuserbyid"]
    assert not any(finds("phrase", phrase, text, code) for phrase in missed)

    prefix = index(tokenizer="prefix")
    assert finds("phrase", "hello theory", "hello theory", prefix)
    assert not finds("phrase", "hel theo", "hello theory", prefix)

    neighbours = index(tokenizer="multilingual")
    assert finds("phrase", "天是星", "今天是星期一", neighbours)
    assert finds("phrase", "天", "今天是星期一", neighbours)
    assert finds("phrase", "期一 x", "今天是星期一 x", neighbours)
    assert not finds("phrase", "星期 x", "今天是星期一 x", neighbours)
    assert finds("text", "星期", "今天是星期一", neighbours)
    assert not finds("text", "星一", "今天是星期一", neighbours)


def test_a_phrase_that_nearly_stands_everywhere_takes_no_square_of_its_length() -> None:
    """Compared from each place it would take minutes, and the test would time out."""
    text = "a " * 200_000
    assert not finds("phrase", "a " * 100_000 + "b", text)
    assert finds("phrase", "a " * 100_000, text)


def test_folding_leaves_other_scripts_and_signs() -> None:
    assert folded("Ærøskøbing Łódź Þór ﬁn ①② ƙɓ") == "AEroskobing Lodz THor fin 12 kb"
    assert folded("Москва й 中 ¨ Ω") == "Москва й 中 ¨ Ω"


def test_every_language_has_its_stop_words_and_all_but_one_a_stemmer() -> None:
    lists = {each: _listed(each) for each in Language}
    assert len({frozenset(words) for words in lists.values()}) == len(Language)
    assert {"the", "don"} <= lists[Language.ENGLISH]
    assert all(word and word == word.lower() for words in lists.values() for word in words)
    for language in SnowballLanguage:
        params = index(stemmer={"type": "snowball", "language": language.value})
        if language is not SnowballLanguage.ARMENIAN:
            assert tokenizer(params)("2") == ["2"]
            continue
        with pytest.raises(InvalidInputError, match="stemmer: there is none for 'armenian'"):
            tokenizer(params)
    assert tokenizer(index(stopwords={"custom": ["a"]}))("a b") == ["b"]


def test_threads_share_a_stemmer() -> None:
    words = [f"{'ab' * n}running" for n in range(200)]
    stem = tokenizer(index(stemmer=ENGLISH))
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(stem(" ".join(words)))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[word.removesuffix("ning") for word in words]] * 4
