"""Closed lists of Korean and English: what carries no content, what may end a word, what turns a meaning.

An entry too many lets two words count as one, an entry too few drops a true sentence: in doubt, leave it out.
"""

from __future__ import annotations

import re

STOP = frozenset(
    """a an the and or but of to in on at by for from with as is are was were be been being it its this
    that these those there here he she they them their his her you your do does did done has have had
    having will would not no n't nor so than then too very also such which who whom whose what when
    where how why while about into over under up out off if unless may might can could must shall should
    only all any every please according 이 그 저 것 것은 것이 것을 것입니다 거 게 수 수도 수가 수는 등
    등의 등을 및 또는 또한 그리고 그러나 하지만 혹은 즉 더 가장 매우 잘 때 때는 때에 때문에 있다
    있습니다 있는 있어요 있고 있으며 있을 있음 없이도 없다 없습니다 없는 없어요 없고 없으며 없이 하다
    합니다 한다 하는 하고 하며 해요 하여 해 할 함 됩니다 된다 되는 되며 되고 돼요 입니다 이다 이며 이고
    않습니다 않는다 않는 않으며 않고 않아요 아닙니다 아니다 아니라 아니며 아니에요 못합니다 못한다 위해
    위하여 위한 대한 대해 대하여 통해 통하여 따라 따른 따르면 의해 의하여 경우 경우에 경우에는 다만 여기
    무엇 무엇인가요 뭔가요 어떻게 어디 어디서 언제 왜 누구 누가 어떤 얼마나 얼마 인가요 있나요 하나요
    되나요 없나요 합니까 됩니까 있습니까 주세요 알려 알려줘 알려주세요 해야 안 못""".split()
)
"""Words that say nothing of their own. Not among them: who speaks, yes and no."""

ASKING = frozenset(
    """i my me we our us am yes find get got tell want wants wanted please say says now ever much many go
    going way thing things know everything anything use using does really also help okay 저 저는 제가 제 우리
    나 내 나의 내가 네 예 아니요 것도 걸 게 하죠 하지 되면 되는지 되죠 되나 될까요 될까 있으면 있을까요
    있어 싶어요 싶은데 싶다 싶습니다 뭐 뭐가 뭔가요 뭐예요 뭐야 뭔지 뭘 무슨 몇 다 더 많이 아주 정말
    진짜 지금 그냥 혹시 그런 이런 저런 건가요 거예요 여기 여기서 이거 이건 그거 그건 그게 이게 나한테
    저한테 나는 나도 우리 제가 쓸 쓰나요 쓰는 쓴 써도 써요 쓸까요 볼 봐도 보나요 봤는데 알 아나요 알아요
    알고 어느 어떡하죠 어떡해요 괜찮나요 괜찮아요 왔어요 왔는데 버렸어요 주나요 해도 해주세요 줘 줄래
    가르쳐 궁금해요 궁금합니다 말해 말해줘 설명해 설명해줘 설명해주세요 누구한테 누구예요 언제예요
    어디예요 어디다 어디에 어디로 왜요 어때 어때요 어떤가요 언제까지 같아요 같은데 같은데요 자꾸""".split()
)
"""Words of a question that do not say what it is about, beside those of ``STOP``."""

REFERRING = frozenset(
    """이것 이것은 이거 이건 이게 그것 그것은 그것도 그거 그건 그게 그걸 그럼 그러면 그렇다면 그런데 거기
    거기서 그때 그때는 그중 그중에 it its that this they them those these then there and""".split()
)
"""Words by which a question refers to what was said before."""

LEANING = frozenset(
    """이 그 이런 그런 이것은 그것은 이는 그래서 그러므로 따라서 그러나 하지만 그리고 또 또한 다만 이때 그때
    이때에는 그때에는 그러면 그래도 대신 it its this that these those they them he she his her
    so but then also and or therefore however instead otherwise""".split()
)
"""Words at the head of a sentence that mean one before it."""

SMALL_TALK = {
    "hello": """안녕| 안녕하세요| 안녕하십니까| 안녕하세여| 반가워| 반가워요| 반갑습니다| 하이| 여보세요|
    hello| hi| hey| hello there| hi there| good morning| good afternoon| good evening""",
    "thanks": """고마워| 고마워요| 고맙습니다| 감사| 감사합니다| 감사해요| 정말 고마워요| 정말 감사합니다|
    수고하세요| 땡큐| 안녕히 계세요| 잘 있어| thanks| thank you| thank you very much| thanks a lot| thx|
    bye| goodbye""",
    "who": """너 누구야| 너는 누구야| 너는 누구니| 넌 누구야| 넌 누구니| 누구야| 누구세요| 누구니|
    당신은 누구입니까| 당신은 누구세요| 너 뭐야| 넌 뭐야| 이름이 뭐야| 이름이 뭐예요| 이름이 뭐니|
    뭐 할 수 있어| 뭘 할 수 있어| 뭐 할 수 있어요| 뭘 할 수 있어요| 뭘 할 수 있나요|
    무엇을 할 수 있나요| 무엇을 할 수 있습니까| 무엇을 물어볼 수 있나요| 뭘 물어볼 수 있어요| 도와줘|
    도와주세요| 도움말| 사용법| help| who are you| what are you| what is your name| what's your name|
    what can you do| what can i ask| how does this work""",
}
"""What is said to whoever stands behind a desk, with "|" between; spaces and marks do not count."""

SAME = tuple(
    frozenset(each.split())
    for each in """
    지우 삭제 탈퇴 없애 delete erase remove
    저장 보관 남 남아 saved save stored store kept keep
    대화 채팅 챗 chats chat conversations conversation
    ai 인공지능 에이아이 챗봇
    훈련 학습 가르치 배우 train training trained learn
    직원 공무원 담당자 staff officials
    읽 열람 봤 read
    무료 공짜 돈 free cost pay
    이상하 이상한 잘못 틀리 틀린 wrong bad
    잊 잊어 잊었 잊어버리 forgot forgotten forget
    잃 잃어 잃었 잃어버리 lost lose
    download 내려받 다운로드 takeout along
    안전 위험 safe
    로그인 계정 account signed sign login
    기다리 대기 줄 순번 wait waiting line queue
    빨리 먼저 faster first sooner
    가짜 딥페이크 fake deepfake
    퍼지 퍼졌 유포 spread
    전화 번호 call number
    자기소개서 자소서
    외국인 foreigner foreigners
    비밀 기밀 secret secrets confidential
    끊기 끊겨 끊긴 끊어
    애가 애들 아이 아이가 자녀 어린이 child children kid kids
    """.strip().splitlines()
)
"""Words of the same matter: they say what a text is about, and never stand for each other in a claim."""

PARTICLES = """
    은 는 이 가 을 를 의 에 에서 에게 에게서 께 께서 한테 로 으로 로서 으로서 로써 으로써 와 과
    도 만 까지 부터 보다 마다 처럼 같이 에는 에도 에서는 에서도 에게는 에게도 으로는 로는 으로도 로도
    까지는 부터는 와는 과는 만을 만이 만은 들 들은 들이 들을 들의 들에게 별 별로
""".split()
"""What may follow a Korean noun of one syllable or more."""

JOINED = """
    랑 이랑 나 이나 라도 이라도 이라는 라는 이란 란 이라고 라고 대한 입니다
    이다 이에요 예요 인 이며 이고 이라 이었습니다 하다 합니다 한다
    하는 하고 하며 하여 하면 하지 하기 하거나 하도록 하려면 하려는 하나요 하여야 해 해요 해서 해야
    했습니다 했다 했으며 한 할 함 하게 되다 됩니다 된다 되는 되고 되며 되어 되면 되지 되기 되거나 되도록
    되나요 돼 돼요 돼서 되었습니다 됐습니다 된 될 됨 받다 받습니다 받는 받고 받을 받은 적 적인 적으로
""".split()
"""What may follow one of two syllables or more, also verbs made of it: 줄이고 is no form of 줄."""

ENDINGS = """
    다 고 며 면 지 기 거나 도록 려면 려고 려는 는 는데 니 나요 ㄴ다 는다 ㅂ니다 습니다 ㄴ ㄹ ㅁ ㅂ니까
    습니까 아 어 여 아요 어요 여요 ㅕ요 ㅏ요 아서 어서 여서 ㅕ서 ㅕ 았다 었다 였다 았습니다 었습니다
    였습니다 ㅆ다 ㅆ습니다 은 을 음 으면 으며 으려면 으니 지만 지는 지도 기도 기는 기를 위해 자 게 도 던
    ㄴ지 는지 ㄹ지 을지 ㄴ데 은데 ㄹ게요 네요 죠 지요 세요 으세요 시오 십시오 으십시오
""".split()
"""What may follow the stem of a Korean verb; a lone consonant is the end of the stem's last syllable."""

ENGLISH_TAILS = ("", "s", "es", "d", "ed", "e", "ing", "ly", "'s", "’s")
"""What may follow an English word."""


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


MARKS = {
    "deny": _any(
        r"\b(?:not|no|never|none|nor|neither|without|cannot|nothing|nobody|hardly)\b",
        r"n['’]t\b|않|아니|아닙|아닌|아님|못하|못합|못한|못해|없|금지|불가|말아야|마십시오|마세요",
        r"(?:^|\s)(?:못|안) |(?:^|\s)말[고라]",
    ),
    "must": _any(
        r"\b(?:must|shall|should|has to|have to|required|needs? to)\b",
        r"야 (?:한|합|하|해|할|됩|돼|된)|[하해]야|의무|필수|십시오|세요",
    ),
    "advise": _any(
        r"\b(?:better|best|advis\w+|recommend\w*|good idea)\b",
        r"(?:것|편|게)(?:이|도)? (?:더 |가장 )?(?:좋|낫|나으|나은|안전)",
    ),
    "may": _any(r"\b(?:may|might|can|could|perhaps|possibly)\b", r"수 ?(?:도 )?[있없]"),
    "if": _any(
        r"\b(?:if|unless|except|until|provided|otherwise)\b",
        r"경우|다만|제외|한하여|한정|때에는|외에는|려면|(?:않으|다|라)면",
        r"(?:하|되|으|이|오|가|보|쓰|치|리|지|르|있으|없으)면(?=[\s,])",
    ),
    "only": _any(
        r"\b(?:only|solely|always|all|every|everyone|any|anyone)\b",
        r"오직|반드시|항상|모든|모두|누구나|[가-힣]만 ",
    ),
}
"""What turns the meaning of a sentence: denial, duty, advice, permission, condition, "only" and "all"."""
