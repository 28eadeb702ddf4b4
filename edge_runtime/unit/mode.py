"""Which bundle may serve, and whether its results leave the unit: shadow mode and live.

In shadow mode the unit screens, stores and audits, and neither shows nor sends anything but
rejection notes, which take back what it sent before. A unit is live only where a named person said
so, for the very bundle and site file that are loaded: another bundle, be it the same model signed
again, starts in shadow mode, and so do other thresholds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from edge_runtime.bundle import ModelBundle, load_bundle, with_site
from edge_runtime.errors import BundleError, ConfigError, GateError
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import record
from edge_runtime.unit.config import BundleSettings


@dataclass(frozen=True)
class Mode:
    """Whether results leave the unit, and who said so.

    Attributes
    ----------
    person, reason, since
        None where nobody said anything of the bundle that is loaded. ``since`` in UTC seconds
        since 1970.
    """

    live: bool
    person: str | None = None
    reason: str | None = None
    since: float | None = None

    @property
    def name(self) -> str:
        """``live`` or ``shadow``."""
        return "live" if self.live else "shadow"


def load_servable(settings: BundleSettings) -> ModelBundle:
    """Return the unit's bundle, if it may serve at all.

    Raises
    ------
    ConfigError
        The file is not there, or the folder of keys holds none.
    GateError
        It is damaged, not signed by a trusted key, revoked, or a demonstration.
    """
    if not os.access(settings.path, os.R_OK):
        raise ConfigError(
            "the bundle cannot be read", "Correct [bundle] path in unit.toml", str(settings.path)
        )
    try:
        bundle = load_bundle(settings.path, settings.trusted_keys)
        if settings.site is not None:
            bundle = with_site(bundle, settings.site, settings.trusted_keys)
    except BundleError as error:
        raise GateError(error.what, error.remedy, error.source) from None
    if bundle.manifest.purpose == "demo":
        raise GateError(
            "a demonstration, trained on drawings, never serves",
            "Install a bundle that was trained on films",
            bundle.file,
        )
    return bundle


def current_mode(spool: Spool, bundle: ModelBundle) -> Mode:
    """Return the mode of a unit that has this bundle loaded."""
    last = spool.row("SELECT * FROM mode ORDER BY id DESC LIMIT 1")
    if last is None or last["bundle_sha256"] != bundle.deployed_sha256:
        return Mode(live=False)
    live = bool(last["live"]) and bundle.manifest.purpose == "evaluated"
    return Mode(live, last["person"], last["reason"], last["at"])


def is_live(spool: Spool, bundle: ModelBundle) -> bool:
    """Return whether results that this bundle makes may be shown and sent."""
    return current_mode(spool, bundle).live


def was_live(spool: Spool, deployed_sha256: str, at: float) -> bool:
    """Return whether what a bundle said at a time could leave the unit.

    Parameters
    ----------
    deployed_sha256
        Of bundle and site file (:func:`edge_runtime.bundle.deployed_sha256`).
    at
        UTC seconds since 1970.
    """
    last = spool.row("SELECT * FROM mode WHERE at <= ? ORDER BY id DESC LIMIT 1", at)
    return last is not None and bool(last["live"]) and last["bundle_sha256"] == deployed_sha256


def go_live(spool: Spool, bundle: ModelBundle, person: str, reason: str) -> None:
    """Let results out, from now on, as long as this bundle is loaded.

    Parameters
    ----------
    person, reason
        Who decides it, and why; both go into the audit log.

    Raises
    ------
    ConfigError
        No person, or no reason, is named.
    GateError
        The bundle did not meet stated bounds on real films.
    """
    if bundle.manifest.purpose != "evaluated":
        raise GateError(
            f"a {bundle.manifest.purpose} bundle does not leave shadow mode",
            "Have it evaluated against stated bounds with 'osteoedge bundle qualify'",
            bundle.file,
        )
    _set(spool, bundle, True, person, reason)


def go_shadow(spool: Spool, bundle: ModelBundle, person: str, reason: str) -> None:
    """Let no result out from now on.

    Raises
    ------
    ConfigError
        No person, or no reason, is named.
    """
    _set(spool, bundle, False, person, reason)


def _set(spool: Spool, bundle: ModelBundle, live: bool, person: str, reason: str) -> None:
    person, reason = person.strip(), reason.strip()
    if not person or not reason:
        raise ConfigError(
            "a change of mode needs a named person and a reason", "Give --by and --reason"
        )
    now = spool.now()
    with spool.transaction() as execute:
        execute(
            "INSERT INTO mode (live, bundle_sha256, person, reason, at) VALUES (?, ?, ?, ?, ?)",
            live, bundle.deployed_sha256, person, reason, now,
        )  # fmt: skip
        record(
            execute, now, "mode", mode="live" if live else "shadow", bundle=bundle.deployed_sha256,
            person=person, reason=reason,
        )  # fmt: skip
