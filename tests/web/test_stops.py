"""What a reader is told when staff stopped a model or the service."""

from __future__ import annotations

import pytest

from moduai.gateway.errors import ApiError
from moduai.gateway.switches import Stop, Switches
from moduai.web import words
from moduai.web.language import language


@pytest.mark.parametrize(("name", "code"), [("service", "service_stopped"), ("model:m", "model_stopped")])
@pytest.mark.parametrize("code_of_language", ["ko", "en"])
def test_the_words_of_staff_follow_ours(name: str, code: str, code_of_language: str) -> None:
    switches = Switches()
    switches.replace({name: Stop(words={"ko": "내일 다시 오세요."})})
    with pytest.raises(ApiError) as caught:
        switches.check("m")
    t = language(code_of_language).words
    told = words.error(t, words.known(caught.value.code), caught.value.retry_after_s, caught.value.message)
    assert caught.value.code == code
    assert told == words.error(t, code) + " 내일 다시 오세요."
