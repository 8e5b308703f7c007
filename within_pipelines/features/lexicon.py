"""Small English word lists. Directions in comments are what headline tests show (Upworthy archive)."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(entry.strip() for entry in text.replace("\n", " ").split(",") if entry.strip())


KINDS: dict[str, frozenset[str]] = {
    # People in a headline raise clicks.
    "people": _words("""
        people, person, man, men, woman, women, mother, mothers, mom, moms, mum, mums, father, fathers, dad, dads, parent,
        parents, kid, kids, child, children, girl, girls, boy, boys, baby, babies, teen, teens, teenager, daughter, daughters,
        son, sons, family, families, friend, friends, wife, husband, couple, couples, teacher, teachers, student, students,
        doctor, doctors, guy, guys, lady, ladies, brother, sister, grandma, grandpa, everyone, everybody, someone, somebody,
        nobody, he, she, his, her, him, who, they, them, their"""),
    "you": _words("you, your, yours, you're, you'll, you've, yourself"),
    "self": _words("i, i'm, i've, me, my, mine, we, we're, our, ours, us"),
    # A gap that only the click closes raises clicks.
    "curiosity": _words("""
        why, how, what, this, these, secret, secrets, reason, reasons, truth, surprising, surprise, surprised, shocking,
        unexpected, revealed, reveals, discover, hidden, mystery, strange, weird, unbelievable, incredible, happens, happened,
        guess, wonder, actually, really, see, nobody tells you, what happens, find out, you won't believe, turns out, here's
        what, this is why"""),
    "question": _words("why, how, what, when, where, which, who, whose, is, are, do, does, did, can, could, would, should, will"),
    "urgency": _words("""
        now, today, tonight, hurry, last, limited, ends, ending, soon, deadline, instantly, immediately, quick, quickly, fast,
        rush, final, midnight, weekend, expires, before, while stocks last, last chance, only a few, act now, don't miss, this
        weekend"""),
    "price": _words("""
        free, sale, save, saving, savings, discount, discounts, off, deal, deals, cheap, cheaper, price, prices, offer, offers,
        half, bonus, coupon, gift, bargain, affordable, clearance, cashback, percent, trial, shipping, promo, half price, free
        shipping, free trial, money back"""),
    "warning": _words("""
        stop, never, avoid, don't, mistake, mistakes, warning, wrong, worst, danger, dangerous, beware, regret, wasting, no, not"""),
    "jargon": _words("""
        synergistic, synergy, proprietary, omnichannel, ergonomically, optimised, optimized, leverage, holistic, scalable,
        seamless, robust, innovative, solution, solutions, enterprise, paradigm, turnkey, generation, best-in-class, cutting
        edge, world class, best in class, state of the art, next generation"""),
}  # fmt: skip
POSITIVE = _words("""
        love, loves, loved, best, great, good, better, beautiful, amazing, awesome, wonderful, perfect, happy, happiness, joy,
        easy, fun, win, wins, winning, smart, brilliant, safe, trusted, trust, comfortable, delicious, fresh, new, healthy,
        proven, favorite, favourite, inspiring, hope, kind, brave, hero, funny, sweet, success, successful, quality, care,
        recommend, deserves, deserve, enjoy, like, gorgeous, powerful, fantastic""")
NEGATIVE = _words("""
        bad, worst, worse, hate, hates, sad, terrible, horrible, awful, ugly, wrong, fail, fails, failed, failure, pain,
        painful, hurt, hurts, fear, scary, scared, afraid, angry, danger, dangerous, die, dies, died, death, dead, kill, killed,
        killing, war, sick, disease, cancer, problem, problems, lie, lies, lied, shame, shameful, poor, racist, sexist, abuse,
        violence, crisis, disaster, stop, never, regret, wasting, mistake, mistakes, broken, lost, lose, loss, cry, crying,
        shocking, disturbing, stupid""")  # fmt: skip
# The most frequent words of general English; a word outside all lists counts as rare.
COMMON = (
    _words("""
        the, be, to, of, and, a, an, in, that, have, has, had, i, it, for, not, on, with, he, as, you, do, does, did, done, at,
        this, but, his, by, from, they, we, say, says, said, her, she, or, will, my, one, two, three, four, five, ten, all,
        would, there, their, what, so, up, out, if, about, who, get, gets, got, which, go, goes, went, me, when, make, makes,
        made, can, like, time, times, no, just, him, know, knows, take, takes, took, people, into, year, years, your, good,
        some, could, them, see, sees, saw, other, than, then, now, look, looks, only, come, comes, came, its, it's, over, think,
        thought, also, back, after, use, used, how, our, work, works, first, well, way, even, new, want, wants, because, any,
        these, give, gives, day, days, most, us, is, are, was, were, been, being, am, more, very, much, many, may, might, must,
        should, through, where, too, here, thing, things, tell, tells, told, find, need, needs, feel, try, leave, call, world,
        life, man, woman, child, home, house, hand, part, place, case, week, weekend, month, night, end, eye, long, little, big,
        small, own, right, high, old, great, every, another, same, few, big, last, next, early, young, important, public, able,
        keep, let, begin, seem, help, show, shows, hear, play, run, move, live, believe, bring, happen, happens, write, provide,
        sit, stand, lose, pay, meet, include, set, learn, change, lead, watch, follow, stop, create, speak, read, allow, add,
        spend, grow, open, walk, win, offer, remember, love, consider, appear, buy, wait, serve, send, sent, expect, build,
        stay, fall, cut, reach, before, without, again, against, between, under, while, during, never, always, best, better,
        free, money, food, story, water, family, friend, friends, kids, mother, father, women, men, girl, boy, school, city,
        today, why, something, nothing, everything, everyone, someone, don't, can't, didn't, doesn't, isn't, won't, that's,
        they're, what's, he's, she's, there's, here's, i'm, you're, both, each, per, off, down, around, near, until, yes, still,
        really, already, maybe, ever, once, sale, price, save, shop, order, easy, ready, plan, plans, made, size, season, door,
        straight, delivered""")
    | KINDS["people"]
    | KINDS["you"]
    | KINDS["self"]
)
