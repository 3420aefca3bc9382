"""Define who sends a request, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """A right of a key or a user; `IMPLIED` says what it includes."""

    READ = "read"
    SUBMIT = "submit"
    REVIEW = "review"
    ADMIN = "admin"


IMPLIED: dict[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.SUBMIT: frozenset({Scope.READ, Scope.SUBMIT}),
    Scope.REVIEW: frozenset({Scope.READ, Scope.REVIEW}),
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request: a key or a user.

    `owner` is the stable name that objects are owned by; it is None for everyone on a service without keys. `granted` are the scopes as given.
    `session` is the digest of the browser session's id, where there is one.
    """

    name: str
    owner: str | None
    granted: frozenset[Scope]
    key_id: str | None = None
    session: str | None = None

    @property
    def scopes(self) -> frozenset[Scope]:
        """Return the granted scopes and those that they imply."""
        return frozenset().union(*(IMPLIED[scope] for scope in self.granted))

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.granted

    def may(self, scope: Scope) -> bool:
        """Return whether the principal has the scope, by itself or implied."""
        return scope in self.scopes

    def may_change(self, owner: str | None) -> bool:
        """Return whether the principal owns an object of this owner, or is an admin."""
        return self.is_admin or (owner is not None and owner == self.owner)


# Everyone on a service without keys, which only its own machine reaches.
LOCAL = Principal("local", None, frozenset({Scope.ADMIN}))
