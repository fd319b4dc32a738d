"""People: found, shown, changed, signed out, deleted. Organisations and invitations stand beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from moduai.accounts import invitations, organisations, sessions
from moduai.accounts import people as repository
from moduai.accounts.invitations import Invitation
from moduai.accounts.organisations import AccountError, Organisation
from moduai.accounts.people import Person
from moduai.accounts.roles import ADMIN
from moduai.accounts.sessions import SessionInfo
from moduai.gateway.errors import ApiError
from moduai.history.forgetting import delete_account
from moduai.store.database import Connection
from moduai.web.api.operation import (
    Call,
    Code,
    Name,
    Nothing,
    Operation,
    Page,
    Request,
    Text,
    Word,
    refused,
)

Role = Literal["resident", "operator", "steward", "officer", "committee", "admin"]


class PeoplePage(Struct, frozen=True):
    """People, by id."""

    items: list[Person]
    next: str
    """To be given as ``after``; empty: these were the last."""


class PeopleWanted(Page, frozen=True):
    """Which people."""

    text: Annotated[Text, Meta(description="The start of an id, or a part of a name or address.")] = ""
    role: Role | None = None
    organisation: Annotated[Text, Meta(description="Its name or id.")] = ""


class PersonNamed(Request, frozen=True):
    """One person, by id."""

    person: Word


class PersonShown(Struct, frozen=True):
    """A person, and the sessions that are open."""

    person: Person
    sessions: list[SessionInfo]


class PersonChanged(PersonNamed, frozen=True):
    """What to change; a code that is empty is cleared, what is not given stays."""

    role: Role | UnsetType = UNSET
    state: Literal["active", "blocked"] | UnsetType = UNSET
    organisation: Annotated[Word, Meta(description="Its name or id.")] | UnsetType = UNSET
    region: Code | UnsetType = UNSET
    group: Code | UnsetType = UNSET


class Deleted(Struct, frozen=True):
    """Who is no more."""

    person: str


class Count(Struct, frozen=True):
    """How many."""

    count: int


class Organisations(Struct, frozen=True):
    """All organisations, by name."""

    items: list[Organisation]


class OrganisationMade(Request, frozen=True):
    """A new organisation."""

    name: Name
    region: Code = ""
    zone: Code = ""


class InvitationInfo(Struct, frozen=True, kw_only=True):
    """An invitation without its link, which only whoever made it was shown."""

    invitation: Invitation
    state: str
    """open, used or expired."""


class Invitations(Struct, frozen=True):
    """Invitations, the latest first."""

    items: list[InvitationInfo]


class InvitationsWanted(Request, frozen=True):
    """Which invitations."""

    closed: Annotated[bool, Meta(description="The used and expired ones too.")] = False


class InvitationMade(Request, frozen=True):
    """A new invitation."""

    role: Role = "resident"
    organisation: Annotated[Text, Meta(description="Its name or id; empty: the default one.")] = ""
    note: Annotated[Text, Meta(description="For staff.")] = ""
    hours: Annotated[int, Meta(ge=1, le=invitations.MOST_HOURS)] = invitations.HOURS


class InvitationNew(Struct, frozen=True, kw_only=True):
    """An invitation that was made just now, with its link: it is shown this once."""

    invitation: Invitation
    path: str
    """``/join/…``, to be put behind the service's address."""


class InvitationNamed(Request, frozen=True):
    """One invitation, by id."""

    invitation: Word


async def find(call: Call, wanted: PeopleWanted) -> PeoplePage:
    """Names and addresses are sealed, so a search for a part of one looks at every person: it is a POST, so
    that what is searched for stands in no address.
    """
    async with call.read() as connection:
        owner = await _organisation(connection, wanted.organisation) if wanted.organisation else ""
        found = await repository.find_people(
            connection,
            call.services.subjects,
            wanted.text,
            role=wanted.role or "",
            organisation=owner,
            limit=wanted.limit,
            after=wanted.after,
        )
    return PeoplePage(found, found[-1].id if len(found) == wanted.limit else "")


async def show(call: Call, wanted: PersonNamed) -> PersonShown:
    """What is known of a person; never what was asked."""
    async with call.read() as connection:
        found = await _person(call, connection, wanted.person)
        return PersonShown(found, await sessions.list_sessions(connection, found.id, call.now))


async def change(call: Call, wanted: PersonChanged) -> Person:
    """Role, state, organisation, region and group. With another role or state a person is signed out
    everywhere; the keys of who is blocked are refused. Nobody changes their own role or state, and one active
    admin stays.
    """
    names = ("role", "state", "organisation", "region", "group")
    changes = {name: value for name in names if (value := getattr(wanted, name)) is not UNSET}
    if not changes:
        raise ApiError("invalid_parameter", "Say what to change.")
    async with call.write() as connection:
        had = await _person(call, connection, wanted.person)
        changes = {name: value for name, value in changes.items() if value != getattr(had, name)}
        if had.id == call.caller.person and changes.keys() & {"role", "state"}:
            raise ApiError("conflict", "Another admin must change your own role or state.")
        if changes.get("role", had.role) != ADMIN or changes.get("state", had.state) != "active":
            await _keep_an_admin(connection, had)
        with refused("value_not_allowed", AccountError):
            made = await repository.change_person(connection, call.services.subjects, had.id, **changes)
        told = {name: str(getattr(made, name)) for name in changes}
        await call.record(connection, had.id, **told)
    return made


async def sign_out(call: Call, wanted: PersonNamed) -> Count:
    """End every session of a person."""
    async with call.write() as connection:
        found = await _person(call, connection, wanted.person)
        ended = await sessions.end_all(connection, found.id)
        await call.record(connection, found.id, sessions=ended)
    return Count(ended)


async def delete(call: Call, wanted: PersonNamed) -> Deleted:
    """Everything that is kept of a person goes and the key of it is destroyed, so that backups cannot be
    read either. This cannot be undone.
    """
    async with call.write() as connection:
        found = await _person(call, connection, wanted.person)
        if found.id == call.caller.person:
            raise ApiError("conflict", "Delete your own account on your own page.")
        await _keep_an_admin(connection, found)
        await call.record(connection, found.id)  # before the key goes, which cannot be taken back
        await delete_account(connection, call.services.subjects, found.id, call.now)
    return Deleted(found.id)


async def _keep_an_admin(connection: Connection, person: Person) -> None:
    """Refuse to leave the service without an active admin. Fails closed."""
    if await repository.is_last_admin(connection, person.id):
        raise ApiError("conflict", "This is the last active admin: make another one first.")


async def _person(call: Call, connection: Connection, person: str) -> Person:
    with refused("not_found", AccountError):
        return await repository.get_person(connection, call.services.subjects, person)


async def _organisation(connection: Connection, named: str) -> str:
    with refused("not_found", AccountError):
        return (await organisations.get_organisation(connection, named)).id


async def list_organisations(call: Call, _: Nothing) -> Organisations:
    """Owners of keys, and where people belong."""
    async with call.read() as connection:
        return Organisations(await organisations.list_organisations(connection))


async def make_organisation(call: Call, wanted: OrganisationMade) -> Organisation:
    """Its name is its own: a second one of the same name is refused."""
    async with call.write() as connection:
        await call.only_once(connection)
        with refused("conflict", AccountError):
            made = await organisations.create_organisation(
                connection, wanted.name, region=wanted.region, zone=wanted.zone
            )
        await call.record(connection, made.id)
    return made


async def list_invitations(call: Call, wanted: InvitationsWanted) -> Invitations:
    """Open ones, and the closed ones if asked."""
    async with call.read() as connection:
        found = await invitations.list_invitations(connection, call.now, closed=wanted.closed)
    return Invitations([InvitationInfo(invitation=one, state=one.state(call.now)) for one in found[:1000]])


async def invite(call: Call, wanted: InvitationMade) -> InvitationNew:
    """A link that lets one person in, once, with a role."""
    async with call.write() as connection:
        await call.only_once(connection)
        with refused("value_not_allowed", AccountError):
            token, made = await invitations.invite(
                connection,
                role=wanted.role,
                organisation=wanted.organisation,
                note=wanted.note,
                made_by=call.caller.person,
                hours=wanted.hours,
            )
        await call.record(connection, made.id, role=made.role)
    return InvitationNew(invitation=made, path=f"/join/{token}")


async def uninvite(call: Call, wanted: InvitationNamed) -> InvitationInfo:
    """Take back a link that was not used yet."""
    async with call.write() as connection:
        with refused("not_found", AccountError):
            gone = await invitations.revoke_invitation(connection, wanted.invitation)
        await call.record(connection, gone.id)
    return InvitationInfo(invitation=gone, state="revoked")


OPERATIONS = (
    Operation(
        "person.find", "POST", "/api/people/search", "people", "Find people.",
        PeopleWanted, PeoplePage, find, "person list",
    ),
    Operation(
        "person.show", "GET", "/api/people/{person}", "people", "Show a person.",
        PersonNamed, PersonShown, show, "person show",
    ),
    Operation(
        "person.change", "PATCH", "/api/people/{person}", "people", "Change a person's role and place.",
        PersonChanged, Person, change, "person change",
    ),
    Operation(
        "person.signout", "POST", "/api/people/{person}/signout", "people", "Sign a person out everywhere.",
        PersonNamed, Count, sign_out, "person signout",
    ),
    Operation(
        "person.delete", "DELETE", "/api/people/{person}", "people", "Delete an account.",
        PersonNamed, Deleted, delete, "person delete",
    ),
    Operation(
        "org.list", "GET", "/api/organisations", "people", "List the organisations.",
        Nothing, Organisations, list_organisations, "org list",
    ),
    Operation(
        "org.create", "POST", "/api/organisations", "people", "Add an organisation.",
        OrganisationMade, Organisation, make_organisation, "org create", status=201,
    ),
    Operation(
        "invite.list", "GET", "/api/invitations", "people", "List invitations.",
        InvitationsWanted, Invitations, list_invitations, "invite list",
    ),
    Operation(
        "invite.create", "POST", "/api/invitations", "people", "Invite somebody.",
        InvitationMade, InvitationNew, invite, "invite create", status=201,
    ),
    Operation(
        "invite.revoke", "DELETE", "/api/invitations/{invitation}", "people", "Take an invitation back.",
        InvitationNamed, InvitationInfo, uninvite, "invite revoke",
    ),
)  # fmt: skip
