"""Who the customers of the recorded stream are, and how their own servers treat the webhooks that reach them."""

# ruff: noqa: RUF001  # names are written as their owners write them

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Literal

import msgspec

from examples.shop.demo import words
from examples.shop.demo.words import Language

FILE = Path(__file__).parent / "data" / "servers.json"

Manners = Literal["prompt", "down", "silent", "gone"]


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """An account to be. ``leaves`` is the share of the stream after which it is closed."""

    slug: str
    name: str
    language: Language
    manners: Sequence[Manners] = ("prompt",)
    outage: int = 0
    leaves: float = inf

    @property
    def secret(self) -> str:
        return "whsec_" + sha256(f"{self.slug} tells nobody".encode()).hexdigest()[:32]

    def servers(self) -> list[Server]:
        return [
            Server(
                path=f"/{self.slug}/{number}",
                account=self.slug,
                secret=self.secret,
                manners=manners,
                outage=self.outage,
            )
            for number, manners in enumerate(self.manners, 1)
        ]


class Server(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a customer receives webhooks: what it knows (its own secret) and how it behaves.

    ``down`` answers 500 to the first ``outage`` arrivals, ``silent`` takes the request and never answers, ``gone``
    answers 410 to everything.
    """

    path: str
    account: str
    secret: str
    manners: Manners = "prompt"
    outage: int = 0


CUSTOMERS = (
    Customer(slug="nordlicht", name="Nordlicht Küchen & Söhne", language=words.GERMAN),
    Customer(slug="harbourlight", name="Harbourlight Coffee ☕️", language=words.ENGLISH, manners=("prompt", "prompt")),
    Customer(slug="sakura", name="さくら印刷株式会社", language=words.JAPANESE),
    Customer(slug="zebulon", name="Café Zébulon", language=words.FRENCH, manners=("down", "prompt"), outage=12),
    Customer(slug="lastochka", name="Ласточка — авиакассы", language=words.RUSSIAN, manners=("down",), outage=60),
    Customer(slug="wisla", name="Księgarnia nad Wisłą", language=words.POLISH),
    Customer(slug="cha-guan", name="清溪茶馆", language=words.CHINESE, manners=("prompt", "prompt")),
    Customer(slug="aegean", name="Αιγαίο Ταξίδια", language=words.GREEK),
    Customer(
        slug="left-halfway",
        name="Gone Fishing Ltd",
        language=words.ENGLISH,
        manners=("down", "prompt"),
        outage=10_000,
        leaves=0.5,
    ),
    Customer(slug="matbaa", name="Işıklı Matbaa", language=words.TURKISH),
    Customer(slug="almaktaba", name="مكتبة النخيل", language=words.ARABIC),
    Customer(slug="tranvia", name="El Tranvía Ñandú", language=words.SPANISH),
    Customer(slug="neela", name="नीला काग़ज़", language=words.HINDI, manners=("prompt", "gone")),
    Customer(slug="quiet-pond", name="Quiet Pond Ceramics", language=words.ENGLISH, manners=("prompt", "silent")),
    Customer(slug="hanok", name="한옥 목공소", language=words.KOREAN),
    Customer(slug="sfarim", name="ספרים ברחוב", language=words.HEBREW),
    Customer(slug="kornblume", name="Apotheke Kornblume", language=words.GERMAN),
    Customer(
        slug="left-early",
        name="Tried It For A Day",
        language=words.ENGLISH,
        manners=("down",),
        outage=10_000,
        leaves=0.03,
    ),
    Customer(slug="ouvrage", name="L’Œuvrage, relieur", language=words.FRENCH),
    Customer(slug="metro", name="Метро́ 24", language=words.RUSSIAN),
    Customer(slug="hotaru", name="蛍 Hotaru 🏮", language=words.JAPANESE),
    Customer(slug="zolty", name="Żółty Rower", language=words.POLISH),
    Customer(slug="emoji", name="👩‍🚀 & 🦦", language=words.ENGLISH),
    Customer(slug="thalassa", name="Θάλασσα", language=words.GREEK),
    Customer(slug="one-person", name="Íñigo", language=words.SPANISH),
    Customer(slug="tiny", name="t", language=words.TURKISH),
)


def read_servers(path: Path = FILE) -> list[Server]:
    """The servers as they are recorded."""
    return msgspec.json.decode(path.read_bytes(), type=list[Server])


def write_servers(path: Path = FILE) -> None:
    """Record the servers of all customers."""
    servers = [server for customer in CUSTOMERS for server in customer.servers()]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(servers), indent=2) + b"\n")
