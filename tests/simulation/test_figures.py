"""The figures follow the laws that they were drawn by."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from within_pipelines.simulation import AgencySpec
from within_pipelines.simulation.client import Client
from within_pipelines.simulation.figures import DISPERSION, _overdispersed
from within_pipelines.simulation.lag import LAGS
from within_pipelines.simulation.planted import UNFAIR, incidents, levels, spells
from within_pipelines.simulation.words import GROUPS, Copywriter, word_effects

SPEC = AgencySpec(end=date(2026, 11, 22))


@pytest.fixture(scope="module")
def clients() -> list[Client]:
    writer = Copywriter(SPEC.seed)
    return [Client(SPEC, index, SPEC.days - 1, writer) for index in range(SPEC.accounts)]


def test_counts_are_five_times_as_dispersed_as_poisson() -> None:
    rng = np.random.default_rng(1)
    for mean in (2.0, 60.0, 3_000.0):
        counts = _overdispersed(rng, np.full(40_000, mean))
        assert counts.mean() == pytest.approx(mean, rel=0.03)
        assert counts.var() / counts.mean() == pytest.approx(DISPERSION, rel=0.05)


def test_dispersion_shows_in_the_figures(clients: list[Client]) -> None:
    ratios = []
    for client in clients:
        level = levels(client.account, seed=SPEC.seed, days=SPEC.days)
        f = client.figures
        n = slice(0, SPEC.days)
        expected = f.clicks[n] * client.account.conversion_rate * (level.conversion * level.tracked)[n, None]
        keep = expected > 1.0
        ratios.append(float(np.mean((f.conversions[n] - expected)[keep] ** 2 / expected[keep])))
    assert 4.0 < np.mean(ratios) < 6.5


def test_the_week_has_its_pattern(clients: list[Client]) -> None:
    alike = []
    for client in clients:
        day = (np.arange(196) + SPEC.first_day.weekday()) % 7
        impressions = client.figures.impressions[:196].sum(axis=1)
        measured = np.array([impressions[day == d].mean() for d in range(7)]) / impressions.mean()
        alike.append(np.corrcoef(measured, client.account.weekday)[0, 1])
    assert np.median(alike) > 0.9
    assert min(alike) > 0.4


def test_nothing_impossible_happens(clients: list[Client]) -> None:
    for client in clients:
        f = client.figures
        assert np.all(f.clicks <= f.impressions)
        assert np.all(f.conversions <= f.clicks)
        assert np.all(f.reach <= f.impressions)
        assert min(f.impressions.min(), f.spend.min(), f.revenue.min()) >= 0
        assert np.all(f.revenue[f.conversions == 0] == 0)


def test_known_shares_sum_to_one_and_grow() -> None:
    for lag in LAGS.values():
        assert lag.arrivals().sum() == pytest.approx(1.0)
        assert lag.arrivals().min() > 0
        assert lag.known_share(30) == 1.0


def test_planted_incidents_are_visible_in_the_figures(clients: list[Client]) -> None:
    seen: dict[str, list[bool]] = {}
    for client in clients:
        f = client.figures
        spend, impressions, clicks = (a.sum(axis=1).astype(float) for a in (f.spend, f.impressions, f.clicks))
        conversions = f.conversions.sum(axis=1)
        series = {"spend": spend, "ctr": clicks / impressions, "cpc": spend / clicks, "cvr": conversions / clicks}
        for incident in incidents(client.account, seed=SPEC.seed, days=SPEC.days - 6):
            during = slice(incident.first, incident.last + 1)
            if incident.metric == "conversions":
                assert conversions[during].sum() == 0
                assert conversions[incident.first - 3 : incident.first].sum() > 0
            elif incident.metric in series:
                values = series[incident.metric]
                before, after = values[incident.first - 7 : incident.first], values[incident.last + 1 : incident.last + 8]
                ratio = values[during].mean() / np.concatenate([before, after]).mean()
                seen.setdefault(incident.metric, []).append(bool(abs(np.log(ratio) - np.log(incident.factor)) < 0.45))
    assert {"spend", "ctr", "cpc", "cvr"} <= set(seen)
    assert np.mean([hit for hits in seen.values() for hit in hits]) > 0.9


def test_a_declining_account_loses_about_its_depth_and_its_ctr_sags_first(clients: list[Client]) -> None:
    losses, sags, depths = [], [], []
    for client in clients:
        level = levels(client.account, seed=SPEC.seed, days=SPEC.days)
        efficiency = np.log(level.conversion / level.price)
        for spell in spells(client.account, seed=SPEC.seed, days=SPEC.days):
            if spell.recovery >= SPEC.days:
                continue
            before, low = slice(max(spell.warning - 14, 0), spell.warning), slice(spell.lowest, spell.recovery)
            losses.append(np.median(efficiency[low]) - np.median(efficiency[before]))
            sags.append(np.log(level.ctr[spell.first] / level.ctr[spell.warning]))
            depths.append(np.log1p(-spell.depth))
    assert len(depths) >= 15
    assert np.mean(losses) == pytest.approx(np.mean(depths), abs=0.12)
    assert np.mean(sags) < -0.02


def test_the_unfair_segment_gets_less_delivery(clients: list[Client]) -> None:
    ratios = []
    for client in clients:
        segment = np.array([ad.group.segment == UNFAIR.segment for ad in client.ads])[client.figures.ad]
        if segment.any() and not segment.all():
            ratios.append(client.figures.impressions[segment].mean() / client.figures.impressions[~segment].mean())
    assert np.mean(ratios) == pytest.approx(UNFAIR.delivery_factor, abs=0.04)


def test_the_planted_word_effects_can_be_read_off_the_clicks(clients: list[Client]) -> None:
    """A weighted regression within ad groups finds the effect of every group of words."""
    rows, target, weight, group = [], [], [], []
    for client in clients:
        f, n = client.figures, SPEC.drift_day
        for position, ad in enumerate(client.ads):
            mine = f.ad[:n, ad.slot] == position
            impressions, clicks = int(f.impressions[:n, ad.slot][mine].sum()), int(f.clicks[:n, ad.slot][mine].sum())
            if impressions < 5_000:
                continue
            text = ad.copy.headline.lower()
            present = [any(ch.isdigit() for ch in text) if g.name == "digits" else any(w.lower() in text for w in g.words) for g in GROUPS]
            rows.append(
                [
                    *map(float, present),
                    float(ad.copy.format in ("video", "video ad")),
                    float(ad.copy.format in ("image", "image ad")),
                ]
            )
            target.append(np.log(clicks / (impressions - clicks)))
            weight.append(1.0)
            group.append((client.account.index, ad.group.campaign, ad.group.number))
    x, y = np.array(rows), np.array(target)
    for key in set(group):
        mine = np.array([g == key for g in group])
        x[mine] -= x[mine].mean(axis=0)
        y[mine] -= y[mine].mean()
    found = np.linalg.lstsq(x, y, rcond=None)[0]
    planted = np.array([g.before for g in GROUPS])
    assert np.corrcoef(found[: len(GROUPS)], planted)[0, 1] > 0.93
    assert np.abs(found[: len(GROUPS)] - planted).max() < 0.15


def test_ads_come_and_go_beside_each_other(clients: list[Client]) -> None:
    per_account = [sum(ad.first < SPEC.days for ad in client.ads) for client in clients]
    assert 30 <= np.mean(per_account) <= 50
    assert 9 <= np.mean([client.account.slots for client in clients]) <= 14
    for client in clients:
        assert all(group.slots >= 2 for group in client.account.groups)
        assert 2 <= len({group.campaign for group in client.account.groups}) <= 4
    ids = [(client.account.platform, ad.ad_id) for client in clients for ad in client.ads]
    assert len(ids) == len(set(ids))


def test_texts_vary_in_everything_that_a_model_may_look_at(clients: list[Client]) -> None:
    texts = [ad.copy.headline for client in clients for ad in client.ads]
    lengths = [len(text) for text in texts]
    assert np.percentile(lengths, 90) > 2 * np.percentile(lengths, 10)
    for sign in ("?", "!"):
        assert 0.1 < np.mean([sign in text for text in texts]) < 0.4
    assert len(set(texts)) > 0.7 * len(texts)


def test_some_words_change_their_effect_at_the_drift_date() -> None:
    changed = {effect.group for effect in word_effects(7) if effect.before != effect.after}
    assert changed == {"curiosity", "urgency", "discount"}
    assert word_effects(7) == word_effects(7) != word_effects(8)


def test_the_strength_of_the_drift_multiplies_what_changes_and_nothing_else() -> None:
    assert word_effects(7, strength=1.0) == word_effects(7)
    for plain, strong, still in zip(word_effects(7), word_effects(7, strength=4.0), word_effects(7, strength=0.0), strict=True):
        assert strong.before == still.before == still.after == plain.before
        assert strong.after - strong.before == pytest.approx(4 * (plain.after - plain.before), abs=2e-4)


def test_a_stronger_drift_leaves_all_days_before_it_as_they_were() -> None:
    spec = replace(SPEC, days=60, daily_days=20, drift_day=40)
    plain, strong = (
        Client(s, 0, s.days - 1, Copywriter(s.seed, strength=s.drift_strength)).figures for s in (spec, replace(spec, drift_strength=4.0))
    )
    np.testing.assert_array_equal(strong.clicks[:40], plain.clicks[:40])
    assert (strong.clicks[40:] != plain.clicks[40:]).any()
    np.testing.assert_array_equal(strong.impressions, plain.impressions)
