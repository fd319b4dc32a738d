"""Whether a quotation supports a claim, judged by other means than the service has.

Korean by Kiwi's morphemes, English by tantivy's stemmer; nothing of ``knowledge.answer`` is used. A claim is
supported by its quotation where every noun, verb, adjective, number and foreign word of it is one of the
quotation's (light verbs apart), its numbers stand there, and both deny equally often.
"""

from __future__ import annotations

import re
from functools import cached_property

import tantivy
from kiwipiepy import Kiwi

_CARRY = ("NNG", "NNP", "NR", "SN", "SL", "XR", "VV", "VA", "MM")
_LIGHT = frozenset("하/VV 되/VV 있/VV 있/VA 없/VA 이/MM 그/MM 것/NNG 수/NNG 때/NNG 등/NNG".split())
_DENYING = frozenset(("않", "못하", "못", "안", "없", "아니", "말"))
_DENIES = re.compile(
    r"\b(?:not|no|never|none|nor|neither|without|cannot|nothing|nobody)\b|n['’]t\b", re.IGNORECASE
)
_NUMBERS = re.compile(r"\d+(?:[.,:]\d+)*")
_SMALL = frozenset(
    """a an the and or but of to in on at by for from with as is are was were be been it its this that
    these those there here he she they them his her you your do does did have has had having will would so
    than then too also which who whom what when where how why while if i we my our can may could might must
    should into out up""".split()
)


class Judge:
    """Loads Kiwi on the first Korean claim; some 600 MB."""

    @cached_property
    def _kiwi(self) -> Kiwi:
        return Kiwi()

    @cached_property
    def _stemmer(self) -> tantivy.TextAnalyzer:
        made = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        return made.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.stemmer("english")).build()

    def missing(self, claim: str, quote: str) -> list[str]:
        """What the claim says that the quotation does not; empty: supported."""
        numbers = set(_NUMBERS.findall(claim)) - set(_NUMBERS.findall(quote))
        if any("가" <= letter <= "힣" for letter in claim):
            said, denied = self._korean(claim)
            stands, denies = self._korean(quote)
        else:
            said, denied = self._english(claim)
            stands, denies = self._english(quote)
        turned = ["denial"] if denied != denies else []
        return sorted(numbers) + sorted(said - stands) + turned

    def _korean(self, text: str) -> tuple[set[str], int]:
        tokens = self._kiwi.tokenize(text)
        forms = {(each.form.lower(), each.tag.partition("-")[0]) for each in tokens}
        words = {f"{form}/{tag}" for form, tag in forms if tag in _CARRY}
        denied = sum(each.form in _DENYING and each.tag[0] in "VM" for each in tokens)
        return words - _LIGHT, denied

    def _english(self, text: str) -> tuple[set[str], int]:
        small = {stem for word in _SMALL for stem in self._stemmer.analyze(word)} | {"s", "t"}
        return set(self._stemmer.analyze(text)) - small, len(_DENIES.findall(text))
