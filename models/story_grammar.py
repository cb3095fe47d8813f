"""Short stories from a grammar of the project's own, the corpus of the shipped models.

The text lives in `grammar/*.txt`; this module reads it, casts a story's roles and expands the
templates. A seed decides everything: the same seed gives the same document.

    python models/story_grammar.py --seed 7 --count 3
"""

import argparse
import random
import re
from functools import lru_cache
from pathlib import Path

GRAMMAR = Path(__file__).parent / "grammar"
# After a beat of a plot comes, this often, a sentence of free choice; few words, many choices.
INTERLUDES = 7 * ("Free",) + ("Interlude", "Gesture", "Scene")
INTERLUDE_SHARE = 0.65
MOODS = ("happy", "sad", "funny", "quiet")

PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
}
# A kind that is itself a gendered word fixes the pronoun; every other kind takes either.
KIND_PRONOUN = {"girl": "she", "queen": "she", "boy": "he", "prince": "he", "postman": "he"}

ARTICLE = re.compile(r"\b([Aa])(?:/an)? (\w+)")
VOWEL_SOUND = re.compile(r"(?!one\b|uni[^m]|use)[aeiou]|hour|honest", re.IGNORECASE)


def lines_of(name):
    """The lines of a grammar file without its comments; blank ones stay, for beats need them."""
    text = (GRAMMAR / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if not line.startswith("#")]


def load_table(name):
    return [[cell.strip() for cell in line.split("|")] for line in lines_of(name) if line]


def load_rules(names):
    """Rules (name -> alternatives) and plots (name, item class, beats) of the given files."""
    rules, plots = {}, []
    text = "\n".join(line for name in names for line in lines_of(name))
    for head, body in re.findall(r"^\[(.+)\]\n((?:(?!\[).*(?:\n|$))*)", text, re.MULTILINE):
        if head.startswith("plot "):
            _, name, item_class = head.split()
            beats = [beat.split("\n") for beat in re.split(r"\n{2,}", body.strip())]
            plots.append((name, item_class, beats))
        elif head.endswith(","):
            rules[head[:-1]] = [word.strip() for word in body.replace("\n", " ").split(",")]
        else:
            rules[head] = [line for line in body.split("\n") if line]
    for word in ("creature", "small_thing"):
        rules[word + "s"] = [plural(noun) for noun in rules[word]]
    rules |= OPTIONAL
    for name in rules:
        rules[name] = [enrich(line) for line in rules[name]]
    plots = [(name, kind, [[enrich(line) for line in beat] for beat in beats])
             for name, kind, beats in plots]
    return rules, plots


# Nouns of the templates that bear an adjective, which most often they then get.
BEARERS = ("night morning evening door window shop box bed road house rain storm wind fire shelf "
           "river bag bowl jar cupboard sack hole ledge stone cart king song tune gorge wheel "
           "letter basket crowd finish race cellar bath roof forehead tea drum root branch flood "
           "table lamp floor hand pocket notice poster lane sky sun moon fog mist").split()
ENRICHMENTS = [
    (r"\bsaid (\{\w+\})([.,])", r"<said> \1<maybe_said_adv>\2"),
    (r"\b([Tt]he) (\{item\})", r"\1 <maybe_dear>\2"),
    (r"\b(the|[Aa]|no) (<small_thing>|<creature>)", r"\1 <maybe_adj>\2"),
    (r"(?<!adj> )(<food>)", r"<maybe_food_adj>\1"),
    (r"\b(the|behind the|[Aa]) (<ground>)", r"\1 <maybe_ground_adj>\2"),
    (r"(<adj>) (<small_things?>)", r"<maybe_another>\1 \2"),
    (r"(?<!, )(<creature_adj>) (<creatures?>)", r"<maybe_another_creature>\1 \2"),
    (rf"\b(the|[Aa]|\{{\w+\.his\}}) ({'|'.join(BEARERS)})\b", r"\1 <maybe_mild>\2"),
]
OPTIONAL = {
    "maybe_said_adv": ["", " <said_adv>"],
    "maybe_dear": ["", "", "<dear> "],
    "maybe_adj": ["", "<adj> "],
    "maybe_food_adj": ["", "<food_adj> "],
    "maybe_ground_adj": ["", "<ground_adj> "],
    "maybe_mild": ["", "<mild> ", "<mild> "],
    "maybe_another": ["", "", "<adj>, ", "<adj>, "],
    "maybe_another_creature": ["", "", "<adj>, ", "very "],
}


def enrich(line):
    """Adds free choices to a template: verbs of speech, adverbs, adjectives before nouns."""
    for pattern, replacement in ENRICHMENTS:
        line = re.sub(pattern, replacement, line)
    return line


def plural(noun):
    """The plural of a noun or of the head of a phrase with "of"."""
    head, of, rest = noun.partition(" of ")
    if head.endswith("mouse"):
        head = head[:-5] + "mice"
    elif head == "leaf":
        head = "leaves"
    elif head.endswith(("ry", "py", "ly")):
        head = head[:-1] + "ies"
    elif head.endswith(("sh", "ch", "x", "s")):
        head += "es"
    else:
        head += "s"
    return head + of + rest


RULES, PLOTS = load_rules(["words.txt", "rules.txt", "plots_a.txt", "plots_b.txt", "chat.txt"])
KINDS = load_table("kinds.txt")
PLACES = load_table("places.txt")
RIDDLES = load_table("riddles.txt")
ITEMS = [[*row[0].split(": "), row[1]] for row in load_table("items.txt")]


def capital(text):
    return text[:1].upper() + text[1:]


class Role:
    """A member of the cast: attribute names to texts. A capital initial asks for a capital."""

    def __init__(self, **attributes):
        self.attributes = attributes

    def get(self, name, rng):
        value = self.attributes[name[0].lower() + name[1:]]
        text = rng.choice(value) if isinstance(value, list) else value
        return capital(text) if name[0].isupper() else text


def cast_character(rng, rules, kind_row, named):
    kind, home, feature, likes = kind_row
    sex = KIND_PRONOUN.get(kind) or rng.choice(("he", "she"))
    pronouns = PRONOUNS[sex]
    name = rng.choice(rules["girl_name" if sex == "she" else "boy_name"])

    def own(text):
        return re.sub(r"\{(his|himself)\}", lambda m: pronouns[m[1]], text)

    desc = f"{rng.choice(rules['helper_adj'])} {kind}"
    the = name if named else f"the {kind}"
    return Role(name=the, n=the, proper=name, kind=kind, desc=desc, home=home,
                feature=own(feature), likes=own(likes),
                trait=rng.choice(rules["trait"]), **pronouns)


def cast_place(row):
    place, prep, sights = row
    the = f"the {place}"
    sights = [sight.strip() for sight in sights.split("/")]
    # Half of the mentions carry an adjective, a new one each time.
    phrases = [the] * len(RULES["place_adj"]) + [f"the {adj} {place}" for adj in RULES["place_adj"]]
    at = [f"{prep} {phrase}" for phrase in phrases]
    return Role(name=place, the=phrases, at=at, to=[f"to {phrase}" for phrase in phrases],
                to_at=at, sight=sights)


def cast_story(rng, rules, item_class):
    """Draws the roles of one story; kinds, names and places differ from one another."""
    while True:
        kinds = rng.sample(KINDS, 4)
        named = (True, True, False, True)
        people = [cast_character(rng, rules, kind, flag) for kind, flag in zip(kinds, named)]
        if len({person.attributes["proper"] for person in people}) == 4:
            break
    cast = dict(zip(("hero", "friend", "helper", "other"), people))
    places = rng.sample(PLACES, 2)
    cast["place"], cast["place2"] = cast_place(places[0]), cast_place(places[1])
    _, item, use = rng.choice([row for row in ITEMS if row[0] == item_class])
    adjective = rng.choice(rules["item_adj"])
    cast["item"] = Role(name=item, full=f"{adjective} {item}", adj=adjective, use=use)
    swaps = rng.sample(rules["small_thing"], 3)
    towns = rng.sample(rules["town"], 2)
    for name, text in zip(("swap1", "swap2", "swap3", "town", "other_town"), swaps + towns):
        cast[name] = Role(name=text)
    for name, rule in (("dish", "dish"), ("crop", "crop"), ("scared", "creature"),
                       ("herb", "herb"), ("tint", "colour"), ("feast", "food"),
                       ("season", "season")):
        cast[name] = Role(name=rng.choice(rules[rule]))
    cast["mood"] = Role(name=rng.choice(MOODS))
    question, answer = rng.choice(RIDDLES)
    asked = f'"Then listen," said {people[3].attributes["name"]}. "{question}"'
    cast["riddle"] = Role(name="riddle", ask=asked, answer=answer)
    return cast


@lru_cache(maxsize=None)
def parse(template):
    """A template as a tuple of nodes: text, ("rule", ...), ("role", ...) or ("pick", ...)."""
    nodes, position = [], 0
    token = re.compile(r"<(\w+)(\.cap)?>|\{(\w+)(?:\.(?!cap)(\w+))?(\.cap)?\}|\(([^()]*\|[^()]*)\)")
    for match in token.finditer(template):
        nodes.append(template[position:match.start()])
        position = match.end()
        if match[1]:
            nodes.append(("rule", match[1], match[2]))
        elif match[3]:
            nodes.append(("role", match[3], match[4] or "name", match[5]))
        else:
            nodes.append(("pick", match[6].split("|")))
    nodes.append(template[position:])
    return tuple(nodes)


class Teller:
    """Expands templates for one story; remembers what it drew so that lists do not repeat."""

    def __init__(self, rng, cast):
        self.rng, self.cast = rng, cast
        self.recent = {}

    def draw(self, rule):
        """One alternative of a rule, avoiding the last few drawn where the rule is long."""
        options, recent = RULES[rule], self.recent.setdefault(rule, [])
        choice = self.rng.choice(options)
        while choice in recent:
            choice = self.rng.choice(options)
        if len(options) > 4:
            recent.append(choice)
            del recent[:-3]
        return choice

    def knows(self, template, told):
        """Whether the helper and the place that a template names have occurred in the story."""
        named = {node[1] for node in parse(template) if node[:1] == ("role",)}
        return all(self.cast[role].get("name", self.rng) in told
                   for role in named & {"helper", "place"})

    def expand(self, template):
        out = []
        for node in parse(template):
            if isinstance(node, str):
                out.append(node)
                continue
            kind, name = node[0], node[1]
            if kind == "pick":
                out.append(self.expand(self.rng.choice(name)))
            elif kind == "rule":
                text = self.expand(self.draw(name))
                out.append(capital(text) if node[2] else text)
            else:
                text = self.cast[name].get(node[2], self.rng)
                out.append(capital(text) if node[3] else text)
        return "".join(out)

    def text(self, template):
        return tidy(self.expand(template))


def tidy(text):
    """Settles a/an by the sound of the next word."""
    def article(match):
        return f"{match[1]}{'n' if VOWEL_SOUND.match(match[2]) else ''} {match[2]}"
    return ARTICLE.sub(article, text)


def tell_beats(teller, beats):
    """The plot's sentences, with an interlude of free choice between some of the beats."""
    rng, parts = teller.rng, []
    for beat in beats:
        chance = next((float(line[1:]) for line in beat if line.startswith("?")), 1.0)
        options = [line for line in beat if not line.startswith("?")]
        if options == ["//"]:
            parts.append("\n")
        elif rng.random() < chance:
            parts.append(teller.expand(link(rng, rng.choice(options))))
            if rng.random() < INTERLUDE_SHARE:
                parts.append(teller.expand(link(rng, teller.draw(rng.choice(INTERLUDES)))))
    return parts


def link(rng, line):
    """Lets a sentence about somebody begin with a link to the one before, more often than not."""
    linked = re.match(r"\{(hero|friend|other)(\.He)?\} ", line)
    if not linked or rng.random() < 0.35:
        return line
    return f"<link>, {line.replace('.He', '.he', 1) if linked[2] else line}"


def make_story(rng, plot=None):
    """One story: its text and its cast."""
    name, item_class, beats = plot or rng.choice(PLOTS)
    teller = Teller(rng, cast_story(rng, RULES, item_class))
    mood = teller.cast["mood"].attributes["name"]
    parts = [teller.expand("<Opening>")]
    if rng.random() < 0.5:
        parts.append(teller.expand("<Scene>"))
    parts += tell_beats(teller, beats)
    told = " ".join(parts)
    endings = [ending for ending in RULES[f"Ending_{mood}"] if teller.knows(ending, told)]
    parts += ["\n", teller.expand(rng.choice(endings))]
    text = tidy(" ".join(parts)).replace(" \n ", "\n")
    return text, teller


def questions(teller):
    """Question and answer pairs that only the story's own text can settle."""
    return [
        ("What is the {hero.kind} called?", "The {hero.kind} is called {hero}."),
        ("Who is {friend}?", "{friend} is a/an {friend.kind}, a friend of {hero}."),
        ("What kind of animal or person is {hero}?", "{hero} is a/an {hero.kind}."),
        ("Who is the story about?", "It is about {hero} the {hero.kind}."),
        ("Who is the friend of {hero}?", "The friend of {hero} is {friend} the {friend.kind}."),
    ]


def ask_for(teller, story):
    """A request that the story does fulfil: all it names from the cast occurs in the text."""
    while True:
        template = teller.rng.choice(RULES["Ask"])
        named = [node for node in parse(template) if node[:1] == ("role",)]
        values = [teller.cast[node[1]].get(node[2], teller.rng) for node in named]
        if all(value in story for value in values):
            return teller.text(template)


def make_chat(rng):
    """One conversation as a list of {"role", "content"} messages."""
    story, teller = make_story(rng)
    messages = []

    def turn(ask, reply):
        messages.append({"role": "user", "content": ask})
        messages.append({"role": "assistant", "content": reply})

    if rng.random() < 0.15:
        messages.append({"role": "system", "content": teller.text("<System>")})
    if rng.random() < 0.08:
        turn(teller.text("<Hello>"), teller.text("<HelloReply>"))
        if rng.random() < 0.5:
            return messages
    ask = teller.text("<AskAny>") if rng.random() < 0.12 else ask_for(teller, story)
    turn(ask, story)
    if rng.random() < 0.35:
        for ask, reply in rng.sample(questions(teller), rng.choice((1, 1, 2))):
            turn(teller.text(ask), teller.text(reply))
    if rng.random() < 0.08:
        turn(teller.text("<AskThanks>"), teller.text("<ThanksReply>"))
    return messages


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--chat", action="store_true", help="print conversations instead")
    args = parser.parse_args()
    for index in range(args.count):
        rng = random.Random(f"{args.seed}-{index}")
        if args.chat:
            print("\n".join(f"{m['role']}: {m['content']}" for m in make_chat(rng)), end="\n\n")
        else:
            print(make_story(rng)[0], end="\n\n")


if __name__ == "__main__":
    main()
