"""The open APIs of law.go.kr and data.go.kr, as small servers on the loopback.

The shapes are those that the APIs document; the texts are made up. Written by hand, never recorded from the
services, and no key is real.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

KEY = "n0t-a-real+key/=="
REFUSED_LAW = (
    '<?xml version="1.0" encoding="UTF-8"?><Response><result>사용자 정보 검증에 실패하였습니다.</result>'
    "<msg>정확한 서버장비의 IP주소 및 도메인주소를 등록해 주세요.</msg></Response>"
)
REFUSED_DATA = json.dumps({"code": -4, "msg": "등록되지 않은 인증키 입니다."}, ensure_ascii=False)
QUOTA = (
    "<OpenAPI_ServiceResponse><cmmMsgHeader><errMsg>SERVICE ERROR</errMsg><returnAuthMsg>"
    "LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR</returnAuthMsg><returnReasonCode>22</returnReasonCode>"
    "</cmmMsgHeader></OpenAPI_ServiceResponse>"
)
Asked = dict[str, str]
Answer = Callable[[str, Asked], "tuple[int, bytes] | str | bytes | None"]


@dataclass
class Site:
    """A server; ``asked`` is what it was asked for, by path and query."""

    url: str = ""
    key_name: str = "OC"
    refused: str = REFUSED_LAW
    asked: list[tuple[str, Asked]] = field(default_factory=list)
    answer: Answer = lambda path, asked: None
    wrong: list[tuple[int, bytes]] = field(default_factory=list)
    """Answers that come first, in place of the right ones."""

    def count(self, path: str) -> int:
        return sum(one == path for one, _ in self.asked)

    def reply(self, target: str) -> tuple[int, bytes]:
        split = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
        self.asked.append((split.path, query))
        if query.get(self.key_name) != KEY:
            return 200 if self.key_name == "OC" else 401, self.refused.encode()
        if self.wrong:
            return self.wrong.pop(0)
        found = self.answer(split.path, query)
        if found is None:
            return 404, b"none"
        if isinstance(found, tuple):
            return found
        return 200, found.encode() if isinstance(found, str) else found


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[Site]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, body = site.reply((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode())
            head = f"HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield site


@dataclass
class Law:
    """One edition of a statute."""

    id: str
    title: str
    serial: str
    made: str = "20240101"
    number: str = "20001"
    force: str = "20240701"
    text: str = "이 법은 모두의 살림을 돕는 것을 목적으로 한다."
    state: str = "현행"

    def row(self) -> str:
        link = f"/DRF/lawService.do?OC={KEY}&amp;target=law&amp;MST={self.serial}&amp;type=HTML"
        return (
            f'<law id="1"><법령일련번호>{self.serial}</법령일련번호><현행연혁코드>{self.state}</현행연혁코드>'
            f"<법령명한글><![CDATA[{self.title}]]></법령명한글><법령ID>{self.id}</법령ID>"
            f"<공포일자>{self.made}</공포일자><공포번호>{self.number}</공포번호><제개정구분명>제정</제개정구분명>"
            f"<소관부처명>보건복지부</소관부처명><법령구분명>법률</법령구분명><시행일자>{self.force}</시행일자>"
            f"<법령상세링크>{link}</법령상세링크></law>"
        )

    def xml(self) -> str:
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<법령 법령키="{self.id}{self.force}">
<기본정보><법령ID>{self.id}</법령ID><공포일자>{self.made}</공포일자><공포번호>{self.number}</공포번호>
<언어>한글</언어><법종구분 법종구분코드="A0002">법률</법종구분>
<법령명_한글><![CDATA[{self.title}]]></법령명_한글>
<소관부처 소관부처코드="1352000">보건복지부</소관부처><시행일자>{self.force}</시행일자></기본정보>
<조문>
<조문단위 조문키="0001000"><조문번호>1</조문번호><조문여부>전문</조문여부>
<조문내용><![CDATA[       제1장 총칙 <개정 2024. 1. 1.>]]></조문내용></조문단위>
<조문단위 조문키="0001001"><조문번호>1</조문번호><조문여부>조문</조문여부><조문제목>목적</조문제목>
<조문내용><![CDATA[제1조(목적) {self.text}]]></조문내용><조문참고자료><![CDATA[[본조신설]]]></조문단위>
<조문단위 조문키="0002021"><조문번호>2</조문번호><조문가지번호>2</조문가지번호><조문여부>조문</조문여부>
<조문제목>지급</조문제목><조문내용><![CDATA[제2조의2(지급(현금))]]></조문내용>
<항><항번호>①</항번호><항내용><![CDATA[① 급여는 다음 각 호와 같다. <개정 2024. 1. 1.>]]></항내용>
<호><호번호>1.</호번호><호내용><![CDATA[1. 살림 급여]]></호내용>
<목><목번호>가.</목번호><목내용><![CDATA[  가. 쌀]]></목내용></목>
<목><목번호>나.</목번호><목내용><![CDATA[  나. 연료]]></목내용></목></호>
<호><호번호>2.</호번호><호내용><![CDATA[2. 배움 급여]]></호내용></호></항>
<항><항번호>②</항번호><항내용><![CDATA[② 급여는 매월 20일에 준다.]]></항내용></항></조문단위>
</조문>
<부칙><부칙단위 부칙키="1"><부칙공포일자>{self.made}</부칙공포일자><부칙공포번호>{self.number}</부칙공포번호>
<부칙내용><![CDATA[부      칙 <법률 제{self.number}호, 2024. 1. 1.>]]>
<![CDATA[]]>
<![CDATA[이 법은 공포 후 6개월이 지난 날부터 시행한다.]]></부칙내용></부칙단위></부칙>
<별표><별표단위 별표키="1"><별표번호>0001</별표번호><별표가지번호>00</별표가지번호><별표구분>별표</별표구분>
<별표제목><![CDATA[급여의 기준(제2조의2 관련)]]></별표제목><별표내용><![CDATA[
┌────┬────┐
│가구원  │금액    │
├────┼────┤
│1명     │10만원  │
└────┴────┘]]></별표내용></별표단위>
<별표단위 별표키="2"><별표번호>0001</별표번호><별표구분>서식</별표구분>
<별표제목>신청서</별표제목></별표단위></별표>
</법령>"""


def listing(root: str, rows: list[str], asked: Asked, total: int | None = None) -> str:
    """The page that is asked for of a list."""
    display, page = int(asked["display"]), int(asked["page"])
    shown = rows[(page - 1) * display : page * display]
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><{root}><target>{asked["target"]}</target><키워드>*</키워드>'
        f"<section>lawNm</section><totalCnt>{len(rows) if total is None else total}</totalCnt>"
        f"<page>{page}</page><numOfRows>{display}</numOfRows><resultCode>00</resultCode>"
        f"<resultMsg>success</resultMsg>{''.join(shown)}</{root}>"
    )


def statutes(laws: list[Law]) -> Answer:
    """Lists laws, and gives the text of each."""

    def answer(path: str, asked: Asked) -> str | None:
        if path == "/lawSearch.do":
            return listing("LawSearch", [law.row() for law in laws], asked)
        by = (asked.get("MST"), asked.get("efYd", ""))
        found = [law for law in laws if law.serial == by[0] and by[1] in {"", law.force}]
        return (
            found[0].xml() if found else "<Law>일치하는 법령이 없습니다.  법령명을 확인하여 주십시오.</Law>"
        )

    return answer


DECISION = """<?xml version="1.0" encoding="UTF-8"?>
<PrecService><판례정보일련번호>700123</판례정보일련번호><사건명><![CDATA[급여반환]]></사건명>
<사건번호>2023두12345</사건번호><선고일자>20240515</선고일자><선고>선고</선고><법원명>대법원</법원명>
<법원종류코드>400201</법원종류코드><사건종류명>일반행정</사건종류명><판결유형>판결</판결유형>
<판시사항><![CDATA[[1] 살림 급여를 돌려받을 수 있는 때<br/>[2] 그 기간]]></판시사항>
<판결요지><![CDATA[<p>잘못 준 급여는 &lt;3년&gt; 안에 돌려받는다.</p>]]></판결요지>
<참조조문><![CDATA[[1] 모두살림법 제2조의2, [2] 민법 제741조]]></참조조문>
<참조판례><![CDATA[대법원 2020. 1. 1. 선고 2019두1 판결]]></참조판례>
<판례내용><![CDATA[【원고, 상고인】 원고<br/>【주    문】<br/>상고를 기각한다.
<br/>【이    유】<br/>상고이유를 판단한다.]]></판례내용>
</PrecService>"""
DECISION_ROW = (
    '<prec id="1"><판례일련번호>700123</판례일련번호><사건명><![CDATA[급여반환]]></사건명>'
    "<사건번호>2023두12345</사건번호><선고일자>2024.05.15</선고일자><법원명>대법원</법원명></prec>"
)
RULE = """<?xml version="1.0" encoding="UTF-8"?>
<AdmRulService><행정규칙기본정보><행정규칙일련번호>2100000111</행정규칙일련번호><행정규칙ID>88661</행정규칙ID>
<행정규칙명><![CDATA[살림 급여 고시]]></행정규칙명>
<행정규칙종류>고시</행정규칙종류><발령일자>20240102</발령일자>
<발령번호>2024-1</발령번호><소관부처명>보건복지부</소관부처명><시행일자>20240201</시행일자>
<현행여부>Y</현행여부></행정규칙기본정보>
<조문내용><![CDATA[제1장 총칙]]></조문내용>
<조문내용><![CDATA[이 고시의 이름은&#8203; 다음과 같다.
둘째 줄이다.]]></조문내용>
<조문내용><![CDATA[제1조(목적) 이 고시는 기준을 정한다.]]></조문내용>
<조문내용><![CDATA[제7-14조의2(금액) ① 금액은 &#8361;100,000이다.
제8조(이의) 이의는 글로 말한다.]]></조문내용>
<부칙><부칙공포일자>20240102</부칙공포일자>
<부칙내용><![CDATA[이 고시는 2024년 2월 1일부터 시행한다.]]></부칙내용></부칙>
</AdmRulService>"""
RULE_ROW = (
    '<admrul id="1"><행정규칙일련번호>2100000111</행정규칙일련번호>'
    "<행정규칙명><![CDATA[살림 급여 고시]]></행정규칙명>"
    "<행정규칙종류>고시</행정규칙종류><발령일자>20240102</발령일자><발령번호>2024-1</발령번호>"
    "<소관부처명>보건복지부</소관부처명><현행연혁구분>현행</현행연혁구분><행정규칙ID>88661</행정규칙ID>"
    "<시행일자>20240201</시행일자></admrul>"
)
ORDINANCE = """<?xml version="1.0" encoding="UTF-8"?>
<LawService><자치법규기본정보><자치법규ID>2001619</자치법규ID><자치법규일련번호>2130189</자치법규일련번호>
<공포일자>20240301</공포일자><공포번호>9001</공포번호><자치법규명><![CDATA[모두시 살림 조례]]></자치법규명>
<시행일자>20240401</시행일자><자치법규종류>C0001</자치법규종류><지자체기관명>모두시</지자체기관명></자치법규기본정보>
<조문><조 조문번호='000100'><조문번호>000100</조문번호><조문여부>Y</조문여부><조제목><![CDATA[목적]]></조제목>
<조내용><![CDATA[제1조(목적) 이 조례는 살림을 돕는다.]]></조내용></조>
<조 조문번호='000200'><조문번호>000200</조문번호><조문여부>Y</조문여부><조제목><![CDATA[지급]]></조제목>
<조내용><![CDATA[제2조(지급)
① 시장은 급여를 준다.
1. 쌀]]></조내용></조></조문>
<부칙><부칙공포일자>20240301</부칙공포일자><부칙내용><![CDATA[부칙
이 조례는 공포한 날부터 시행한다.]]></부칙내용></부칙></LawService>"""
ORDINANCE_ROW = (
    '<law id="1"><자치법규일련번호>2130189</자치법규일련번호>'
    "<자치법규명><![CDATA[모두시 살림 조례]]></자치법규명>"
    "<자치법규ID>2001619</자치법규ID><공포일자>20240301</공포일자><공포번호>9001</공포번호>"
    "<지자체기관명>모두시</지자체기관명><자치법규종류>조례</자치법규종류><시행일자>20240401</시행일자></law>"
)
OTHERS = {
    "prec": ("PrecSearch", DECISION_ROW, DECISION),
    "admrul": ("AdmRulSearch", RULE_ROW, RULE),
    "ordin": ("OrdinSearch", ORDINANCE_ROW, ORDINANCE),
}


def other(path: str, asked: Asked) -> str:
    """One document of each kind that is no statute."""
    root, row, text = OTHERS[asked["target"]]
    return listing(root, [row], asked) if path == "/lawSearch.do" else text


def service(key: str, title: str, **more: str | None) -> dict[str, str | None]:
    """A public service, as serviceDetail gives it."""
    return {
        "서비스ID": key,
        "서비스명": title,
        "소관기관명": "보건복지부",
        "서비스목적": "살림을 돕는다",
        "지원대상": "소득이 적은 가구",
        "지원내용": "달마다 10만원",
        "신청방법": "읍면동 주민센터에 낸다",
        "구비서류": "신분증||통장 사본",
        "문의처": "보건복지상담센터/129",
        "자치법규": None,
        "온라인신청사이트URL": "",
        "수정일시": "2026-08-14",
    } | more


def services(found: list[dict[str, str | None]]) -> Answer:
    """Both lists of gov24; a filter looks into the field that it names."""

    def answer(path: str, asked: Asked) -> str:
        per, page = int(asked["perPage"]), int(asked["page"])
        fits = found
        for name, value in asked.items():
            if name.startswith("cond["):
                wanted = name.removeprefix("cond[").removesuffix("::LIKE]")
                fits = [row for row in fits if value in (row.get(wanted) or "")]
        shown = fits[(page - 1) * per : page * per]
        return json.dumps(
            {
                "page": page,
                "perPage": per,
                "totalCount": len(found),
                "currentCount": len(shown),
                "matchCount": len(fits),
                "data": shown,
            },
            ensure_ascii=False,
        )

    return answer
