"""unit.toml: everything that a unit is told, checked before anything starts."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edge_runtime.config import read_settings
from edge_runtime.policy import Fallback, IntendedUse, Language

# SR, SC and SEG are results; the original is the film itself.
ResultKind = Literal["sr", "sc", "seg"]
SentKind = Literal["sr", "sc", "seg", "original"]
Part = TypeVar("Part", bound=BaseModel)


def _ae_title(title: str) -> str:
    """PS3.5 6.2, AE: 1 to 16 characters of the default repertoire, no backslash, no control."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title) or not title.strip():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title.strip()


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


def _address(text: str) -> str:
    ipaddress.ip_address(text)
    return text


def _window(text: object) -> object:
    match = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d)", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("write a window as '06:00-08:00'")
    return {"opens": match[1], "closes": match[2]}


def _socket_path(path: Path) -> Path:
    """sun_path of unix(7) has 108 bytes, with its end; relative paths grow by their folder."""
    if len(os.fsencode(path)) > 100:
        raise ValueError("the path of a Unix socket has at most 100 bytes")
    return path


AETitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
Address = Annotated[str, AfterValidator(_address)]
Port = Annotated[int, Field(ge=1, le=65535)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BundleSettings(_Section):
    """The model, and who may have signed it."""

    path: Path = Field(description="the signed .osteo file")
    trusted_keys: Path = Field(description="folder of .pub keys; one of them must have signed it")
    site: Path | None = Field(None, description="this site's own calibration, signed likewise")


class ScreeningSettings(_Section):
    """What runs the model, and what a result may tell."""

    delegate: str = Field("auto", description="auto, cpu, gpu, edgetpu, openvino or external")
    threads: int = Field(1, ge=1, le=64, description="of the CPU")
    fallback: Fallback = Field("allow", description="forbid: no other delegate may take over")
    intended_use: IntendedUse = Field(
        "localise", description="triage: no box and no probability in any output"
    )
    external_delegate: Path | None = Field(None, description="library of the delegate external")
    external_options: dict[str, str] = Field(default_factory=dict, description="its options")
    results: tuple[ResultKind, ...] = Field(
        ("sr", "sc"), description="DICOM objects made of each screening; seg: the lesion mask"
    )


class TlsSettings(_Section):
    """DICOM TLS (PS3.15 B.9, BCP 195): both sides show a certificate."""

    certificate: Path = Field(description="PEM, ours, with the chain below the authority")
    key: Path = Field(description="PEM, ours, without passphrase")
    authority: Path = Field(description="PEM, who must have signed the other side's")


class Peer(_Section):
    """Someone who may send films."""

    ae_title: AETitle
    address: Network | None = Field(None, description="address or network, e.g. 10.0.0.0/24")


class DicomIntake(_Section):
    """The C-STORE service on the unit."""

    ae_title: AETitle = "OSTEOEDGE"
    bind: Address = Field("127.0.0.1", description="0.0.0.0 for every network")
    port: Port = 11112
    peers: tuple[Peer, ...] = Field((), description="who may send; needed beyond loopback")
    tls: TlsSettings | None = None
    receivers: int = Field(2, ge=1, le=16, description="processes that receive")
    associations: int = Field(8, ge=1, le=64, description="at once, each process")
    film_mib: int = Field(200, ge=1, le=2000, description="largest film that is accepted")
    pdu_kib: int = Field(256, ge=4, le=1024, description="largest PDU that is accepted")
    idle_s: float = Field(60.0, gt=0, description="a silent association is ended")
    pdu_s: float = Field(30.0, gt=0, description="one PDU may take, against slow senders")

    @model_validator(mode="after")
    def _nobody_in_general(self) -> Self:
        if not ipaddress.ip_address(self.bind).is_loopback and not self.peers:
            raise ValueError("beyond loopback, list in peers who may send")
        return self


class FolderIntake(_Section):
    """A folder, or a USB stick, that films appear in."""

    path: Path
    settle_s: float = Field(2.0, gt=0, description="a file is whole when it kept still this long")
    every_s: float = Field(1.0, gt=0, description="how often to look")
    after: Literal["keep", "remove"] = Field(
        "keep", description="what to do with a file once the spool holds it"
    )


class IntakeSettings(_Section):
    """Where films come from."""

    dicom: DicomIntake | None = None
    folders: tuple[FolderIntake, ...] = ()

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.dicom is None and not self.folders:
            raise ValueError("films must come from somewhere: add [intake.dicom] or a folder")
        return self


class SpoolSettings(_Section):
    """The durable store."""

    directory: Path
    reserve_mib: int = Field(500, ge=10, description="below that much free space, no film is taken")
    keep_days: float = Field(30.0, ge=0, description="films and results that are delivered")
    unencrypted_because: str | None = Field(
        None, description="why patients' films may lie on a volume without encryption"
    )


class TransferWindow(_Section):
    """A part of the day, local time, in which a destination may be reached."""

    opens: time
    closes: time


class Destination(_Section):
    """Where results go."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    sends: tuple[SentKind, ...] = Field(("sr", "sc"), description="original: the film itself")
    windows: tuple[Annotated[TransferWindow, BeforeValidator(_window)], ...] = Field(
        (), description="e.g. ['06:00-08:00'], local time; none: always"
    )


class DicomDestination(Destination):
    """A C-STORE service."""

    kind: Literal["dicom"]
    host: str
    port: Port
    ae_title: AETitle
    calling_ae_title: AETitle = "OSTEOEDGE"
    tls: TlsSettings | None = None
    commitment: bool = Field(
        False, description="ask for storage commitment; nothing is deleted before it is given"
    )


class StowDestination(Destination):
    """A DICOMweb store (STOW-RS)."""

    kind: Literal["stow"]
    url: str = Field(pattern=r"^https?://")
    token_file: Path | None = Field(None, description="holds a bearer token")
    certificate: Path | None = Field(None, description="PEM, ours, with its key")
    authority: Path | None = Field(None, description="PEM, who must have signed the server's")


AnyDestination = Annotated[DicomDestination | StowDestination, Field(discriminator="kind")]


class HealthSettings(_Section):
    """`/healthz`, `/readyz` and `/metrics`."""

    bind: Address = "127.0.0.1"
    port: Port = 9114

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if not ipaddress.ip_address(self.bind).is_loopback:
            raise ValueError("health is served on loopback only")
        return self


class ServerTls(_Section):
    """TLS of a web server: it shows a certificate, and its callers sign in."""

    certificate: Path = Field(description="PEM, ours, with the chain below the authority")
    key: Path = Field(description="PEM, ours, without passphrase")


class Account(_Section):
    """A person who may call the console over the network."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")
    password: str = Field(
        pattern=r"^scrypt:[A-Za-z0-9+/]{22}==:[A-Za-z0-9+/]{43}=$",
        description="hashed, as 'osteoedge console account' prints it",
    )


class ConsoleSettings(_Section):
    """The local HTTP API, and the page that the technologist sees."""

    socket: Annotated[Path, AfterValidator(_socket_path)] | None = Field(
        None, description="Unix socket; who calls is known by user id"
    )
    users: tuple[str, ...] = Field(
        (), description="names or ids of users who may call there, beside our own and root"
    )
    bind: Address = "127.0.0.1"
    port: Port = 9180
    token_file: Path | None = Field(
        None, description="holds what callers on loopback show; none: no TCP port without accounts"
    )
    tls: ServerTls | None = Field(None, description="needed beyond loopback")
    accounts: tuple[Account, ...] = Field((), description="needed beyond loopback")
    hosts: tuple[HostName, ...] = Field(
        (), description="names that the unit is called by, beside its address"
    )
    submit_from: tuple[Path, ...] = Field(
        (), description="folders from which callers on the socket may have a film taken by its path"
    )
    film_mib: int = Field(200, ge=1, le=2000, description="largest film that is accepted")

    @property
    def has_port(self) -> bool:
        """Whether it is served by TCP, too."""
        return self.token_file is not None or bool(self.accounts)

    @model_validator(mode="after")
    def _behind_locks(self) -> Self:
        if self.socket is None and not self.has_port:
            raise ValueError("give a socket, a token_file or accounts: nobody could call")
        names = [account.name for account in self.accounts]
        if len(set(names)) < len(names):
            raise ValueError("two accounts have the same name")
        if not ipaddress.ip_address(self.bind).is_loopback:
            if self.tls is None or not self.accounts:
                raise ValueError("beyond loopback, the console needs tls and accounts")
            if self.token_file is not None:
                raise ValueError("a token is for loopback: beyond it, people sign in by name")
        return self


class UnitConfig(_Section):
    """The content of unit.toml."""

    name: str = Field("unit", pattern=r"^[A-Za-z0-9_-]{1,16}$", description="station name")
    language: Language = Field("en", description="of the summary in reports, and of the page")
    bundle: BundleSettings
    spool: SpoolSettings
    intake: IntakeSettings
    screening: ScreeningSettings = ScreeningSettings()
    destinations: tuple[AnyDestination, ...] = ()
    health: HealthSettings | None = HealthSettings()
    console: ConsoleSettings | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [destination.name for destination in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError("two destinations have the same name")
        made = {*self.screening.results, "original"}
        for destination in self.destinations:
            missing = [kind for kind in destination.sends if kind not in made]
            if missing:
                raise ValueError(
                    f"{destination.name} is to be sent {', '.join(missing)}, which "
                    "[screening] results does not list"
                )
        return self


def load_unit(path: Path) -> UnitConfig:
    """Return the settings of a unit; relative paths are relative to the file's folder.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds a key or value that is not understood.
    """
    return _anchored(read_settings(path, UnitConfig), path.resolve().parent)


def _anchored(part: Part, folder: Path) -> Part:
    """Return a section with every path in it made absolute."""
    changed: dict[str, object] = {}
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, BaseModel):
            changed[name] = _anchored(value, folder)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            changed[name] = tuple(_anchored(item, folder) for item in value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Path):
            changed[name] = tuple(folder / item for item in value)
    return part.model_copy(update=changed)
