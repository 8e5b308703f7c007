"""What the ad platforms call their columns: English for Google, Meta and TikTok, German for Google and Meta.

Names are compared without regard to case, repeated spaces, underscores and a final full stop. Within a role the first name wins, so Meta's
"Link clicks" are the clicks even where "Clicks (all)" stands beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

# Roles that can hold money; their header may end with a currency: "Amount spent (USD)".
MONEY_ROLES = frozenset({"spend", "revenue"})
ENTITY_LEVELS: tuple[str, ...] = ("campaign", "ad_group", "ad")
MEASURE_ROLES: tuple[str, ...] = ("impressions", "clicks", "reach", "spend", "spend_micros", "conversions", "revenue", "revenue_micros")
CREATIVE_ROLES: tuple[str, ...] = ("headline", "description", "call_to_action", "format", "audience_segment", "image_path")
BREAKDOWN_PREFIX = "by:"

_NUMBERED = range(1, 16)

_COMMON: dict[str, tuple[str, ...]] = {
    "currency": ("currency", "currency code"),
    "clicks": ("clicks",),
    "impressions": ("impressions",),
    "reach": ("reach",),
    "campaign_id": ("campaign id",),
    "campaign_name": ("campaign name",),
    "ad_id": ("ad id",),
    "ad_name": ("ad name",),
    "headline": ("headline", "title"),
    "call_to_action": ("call to action",),
    "format": ("ad format", "format", "ad type", "creative type"),
    "audience_segment": ("audience segment", "audience"),
    "image_path": ("image path", "image url", "image file", "image"),
    "by:age": ("age", "age range"),
    "by:gender": ("gender",),
    "by:country": ("country", "country/region"),
    "by:region": ("region",),
    "by:device": ("device",),
    "by:placement": ("placement",),
    "week": ("week", "by week"),
    "month": ("month", "by month"),
    "quarter": ("quarter",),
    "year": ("year",),
}

_GOOGLE: dict[str, tuple[str, ...]] = {
    "date": ("day", "date", "segments.date", "tag", "datum"),
    "week": ("week", "woche"),
    "month": ("month", "monat"),
    "quarter": ("quarter", "quartal"),
    "year": ("year", "jahr"),
    "account_id": ("customer id", "external customer id", "account id", "customer.id", "kundennummer", "kunden-id"),
    "account_name": ("account", "account name", "customer.descriptive name", "konto", "kontoname"),
    "currency": ("currency code", "currency", "customer.currency code", "währungscode", "währung"),
    "campaign_id": ("campaign id", "campaign.id", "kampagnen-id"),
    "campaign_name": ("campaign", "campaign name", "campaign.name", "kampagne"),
    "ad_group_id": ("ad group id", "ad group.id", "anzeigengruppen-id"),
    "ad_group_name": ("ad group", "ad group name", "ad group.name", "anzeigengruppe"),
    "ad_id": ("ad id", "ad group ad.ad.id", "anzeigen-id"),
    "ad_name": ("ad name", "ad group ad.ad.name", "name der anzeige"),
    "impressions": ("impr", "impressions", "metrics.impressions", "impressionen"),
    "clicks": ("clicks", "metrics.clicks", "klicks"),
    "spend": ("cost", "kosten"),
    "spend_micros": ("cost micros", "metrics.cost micros"),
    "conversions": ("conversions", "conv", "metrics.conversions", "all conv", "alle conv"),
    "revenue": (
        "conv. value", "conversion value", "conversions value", "total conv. value", "metrics.conversions value", "conv.-wert",
        "conversion-wert", "all conv. value",
    ),
    "headline": ("headline", "ad headline", "anzeigentitel", *(f"{name} {i}" for i in _NUMBERED for name in ("headline", "anzeigentitel"))),
    "description": (
        "description", "beschreibung", "textzeile",
        *(f"{name} {i}" for i in _NUMBERED for name in ("description", "description line", "textzeile", "beschreibung")),
    ),
    "call_to_action": ("call to action", "call to action text", "call-to-action"),
    "format": ("ad type", "ad format", "format", "anzeigentyp"),
    "campaign_type": ("campaign type", "campaign subtype", "advertising channel type", "kampagnentyp"),
    "by:age": ("age", "age range", "alter"),
    "by:gender": ("gender", "geschlecht"),
    "by:country": ("country", "country/territory", "country/region", "land/gebiet", "land"),
    "by:region": ("region",),
    "by:device": ("device", "segments.device", "gerät"),
    "by:network": ("network", "network (with search partners)", "werbenetzwerk", "netzwerk"),
    "by:hour": ("hour of day", "hour of the day", "tageszeit", "stunde"),
    "by:click_type": ("click type", "klicktyp"),
    "by:keyword": ("keyword", "search keyword", "keyword-id", "keyword id"),
    "by:match_type": ("match type", "search keyword match type", "keyword-option"),
    "by:conversion_action": ("conversion action", "conversion-aktion"),
    "by:top": ("top vs. other", "top im vergleich zu anderen"),
}  # fmt: skip

_META: dict[str, tuple[str, ...]] = {
    "date": ("day", "date", "date start", "tag", "datum"),
    "range_start": ("reporting starts", "berichtsbeginn", "auswertungsbeginn"),
    "range_end": ("reporting ends", "date stop", "berichtsende", "auswertungsende"),
    "week": ("week", "woche"),
    "month": ("month", "monat"),
    "account_id": ("account id", "ad account id", "konto-id", "werbekonto-id"),
    "account_name": ("account name", "ad account name", "kontoname", "name des werbekontos"),
    "currency": ("currency", "account currency", "currency code", "währung"),
    "campaign_id": ("campaign id", "kampagnen-id"),
    "campaign_name": ("campaign name", "campaign", "kampagnenname", "name der kampagne"),
    "ad_group_id": ("ad set id", "adset id", "anzeigengruppen-id"),
    "ad_group_name": ("ad set name", "adset name", "ad set", "anzeigengruppenname", "name der anzeigengruppe"),
    "ad_id": ("ad id", "anzeigen-id"),
    "ad_name": ("ad name", "ad", "anzeigenname", "name der anzeige"),
    "impressions": ("impressions", "impressionen"),
    "reach": ("reach", "reichweite"),
    "clicks": ("link clicks", "inline link clicks", "link-klicks", "clicks (all)", "klicks (alle)", "clicks", "klicks"),
    "spend": ("amount spent", "spend", "ausgegebener betrag"),
    "conversions": ("purchases", "website purchases", "käufe", "website-käufe", "conversions"),
    "results": ("results", "ergebnisse"),
    "result_type": ("result indicator", "result type", "ergebnisindikator", "ergebnistyp"),
    "revenue": (
        "purchases conversion value", "purchase conversion value", "website purchases conversion value", "conversion value",
        "conversion-wert von käufen", "kauf-conversion-wert", "conversion-wert für käufe",
    ),
    "attribution": ("attribution setting", "attributionseinstellung"),
    "headline": ("headline", "headline (ad settings)", "title", "titel", "überschrift"),
    "description": ("body", "body (ad settings)", "primary text", "text", "description", "link description", "beschreibung", "haupttext"),
    "call_to_action": ("call to action", "call to action type", "call-to-action"),
    "format": ("ad format", "format", "ad type", "ad creative type", "creative type", "anzeigenformat"),
    "by:age": ("age", "alter"),
    "by:gender": ("gender", "geschlecht"),
    "by:country": ("country", "land"),
    "by:region": ("region", "dma region"),
    "by:device": ("impression device", "device", "device platform", "gerät", "impression-gerät"),
    "by:platform": ("platform", "publisher platform", "plattform"),
    "by:placement": ("placement", "platform position", "platzierung"),
    "by:hour": ("time of day (ad account time zone)", "time of day (viewer's time zone)"),
}  # fmt: skip

_TIKTOK: dict[str, tuple[str, ...]] = {
    "date": ("by day", "date", "day", "stat time day"),
    "account_id": ("advertiser id", "account id", "ad account id"),
    "account_name": ("advertiser name", "account name", "ad account name"),
    "currency": ("currency", "currency code"),
    "ad_group_id": ("ad group id", "adgroup id"),
    "ad_group_name": ("ad group name", "adgroup name"),
    "clicks": ("clicks (destination)", "clicks", "clicks (all)"),
    "spend": ("cost", "spend", "total cost"),
    "conversions": ("conversions", "conversion", "complete payment", "complete payment (website)", "total complete payment"),
    "revenue": ("total complete payment value", "total complete payment value (website)", "complete payment value"),
    "headline": ("headline", "ad title", "title"),
    "description": ("description", "ad text", "text"),
    "by:placement": ("placement", "placement type"),
    "by:hour": ("by hour", "hour"),
    "by:platform": ("platform", "operating system"),
}  # fmt: skip

LANGUAGES: Mapping[str, tuple[str, ...]] = MappingProxyType({"google_ads": ("en", "de"), "meta_ads": ("en", "de"), "tiktok_ads": ("en",)})
_GERMAN_SIGNS = frozenset(
    {"tag", "datum", "kampagne", "kampagnen-id", "kampagnenname", "name der kampagne", "klicks", "kosten", "impressionen",
     "ausgegebener betrag", "anzeigengruppe", "anzeigen-id", "anzeigengruppen-id", "reichweite", "käufe",
        "link-klicks", "berichtsbeginn", "auswertungsbeginn"}
)  # fmt: skip

_SPACES = re.compile(r"[\s_]+")
_CURRENCY_SUFFIX = re.compile(r"^(.*\S)\s*\(([a-z]{3})\)$")


def _table(own: dict[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    roles = {**_COMMON, **own}
    for role in MONEY_ROLES | {"conversions"}:
        roles.setdefault(role, ())
    return MappingProxyType({role: tuple(_SPACES.sub(" ", name).rstrip(".") for name in names) for role, names in roles.items()})


ROLES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"google_ads": _table(_GOOGLE), "meta_ads": _table(_META), "tiktok_ads": _table(_TIKTOK)}
)
PLATFORMS: tuple[str, ...] = tuple(ROLES)
_BY_NAME: Mapping[str, Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        platform: {name: (role, rank) for role, names in roles.items() for rank, name in reversed(tuple(enumerate(names)))}
        for platform, roles in ROLES.items()
    }
)


@lru_cache(maxsize=4096)
def normalised(name: str) -> str:
    """A header name as it is compared.

    >>> normalised(" Impr. "), normalised("AD_ID")
    ('impr', 'ad id')
    """
    return _SPACES.sub(" ", name.strip().strip("\ufeff\"'").casefold()).strip().rstrip(".")


@lru_cache(maxsize=16384)
def role_of(platform: str, name: str) -> tuple[str, int, str] | None:
    """Role, rank within the role (0 is preferred) and header currency ("" when none) of a column, None when it is not known.

    >>> role_of("meta_ads", "Amount spent (USD)"), role_of("google_ads", "Impr.")
    (('spend', 0, 'USD'), ('impressions', 0, ''))
    """
    names = _BY_NAME[platform]
    plain = normalised(name)
    if plain in names:
        return (*names[plain], "")
    found = _CURRENCY_SUFFIX.match(plain)
    if found and found[1].rstrip(".") in names:
        role, rank = names[found[1].rstrip(".")]
        if role in MONEY_ROLES:
            return role, rank, found[2].upper()
    return None


def known_name(name: str) -> bool:
    """Whether any platform knows a column of this name."""
    return any(role_of(platform, name) is not None for platform in PLATFORMS)


def language(header: tuple[str, ...]) -> str:
    """ "de" when the header is German, else "en"; decides how "1.234" is read only where the numbers themselves do not."""
    return "de" if sum(normalised(name) in _GERMAN_SIGNS for name in header) >= 2 else "en"
