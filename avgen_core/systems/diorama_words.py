"""Words of everyday prompts, and what in the diorama world comes nearest to each of them.

The names and phrases are those of `diorama.attributes`, which needs OpenCV and is not in the registry's archive.
"""

from __future__ import annotations

# What a sentence calls each subject, how it moves, and the words that mean it, or something like it.
SUBJECTS = {
    "orange cat": ("walk", "cat kitten kitty kitties feline tabby tomcat"),
    "dog": ("walk", "dog puppy puppies pup hound doggo canine wolf wolves fox coyote jackal corgi poodle husky"),
    "brown horse": ("walk", "horse pony ponies stallion mare foal donkey mule zebra unicorn deer moose elk reindeer"),
    "pink pig": ("walk", "pig piglet hog boar swine hippo hippopotamus hedgehog"),
    "cow": ("walk", "cow bull calf calves ox oxen buffalo bison cattle bear panda"),
    "white sheep": ("walk", "sheep lamb goat ram ewe"),
    "elephant": ("walk", "elephant mammoth rhino rhinoceros"),
    "tiger": ("walk", "tiger lion leopard cheetah panther jaguar puma cougar lynx"),
    "kangaroo": (
        "walk",
        "kangaroo wallaby rabbit bunny bunnies hare frog squirrel mouse mice rat monkey ape gorilla person people "
        "man men woman women boy girl child children kid human guy lady robot dancer runner knight wizard",
    ),
    "pink flamingo": (
        "walk",
        "flamingo stork heron swan ostrich bird duck goose geese pelican parrot eagle hawk owl pigeon crow seagull "
        "penguin",
    ),
    "green dinosaur": (
        "walk",
        "dinosaur t-rex trex dino dragon lizard crocodile alligator godzilla raptor monster turtle snake",
    ),
    "camel": ("walk", "camel dromedary llama alpaca giraffe"),
    "rooster": ("walk", "rooster chicken hen cock chick turkey"),
    "red car": (
        "drive",
        "car sedan automobile taxi cab convertible suv jeep limousine vehicle racecar ferrari bike bicycle motorcycle",
    ),
    "yellow bus": ("drive", "bus buses coach minibus van truck lorry lorries schoolbus ambulance"),
    "green tractor": ("drive", "tractor bulldozer digger excavator harvester tank"),
    "steam train": ("drive", "train locomotive tram subway metro railway"),
    "ghost": ("fly", "ghost spirit phantom spectre specter spook skeleton zombie vampire"),
    "bee": (
        "fly",
        "bee honeybee wasp hornet bumblebee insect butterfly butterflies dragonfly mosquito beetle ladybug bug bat",
    ),
    "orange helicopter": (
        "fly",
        "helicopter chopper copter drone airplane aeroplane plane aircraft jet balloon airship",
    ),
    "flying saucer": ("fly", "ufo saucer spaceship spacecraft starship rocket shuttle alien satellite astronaut"),
}

# Walking and running have a direction, and a verb for each way of moving.
MOVING = {
    "walk": {"walk": "walks", "drive": "drives", "fly": "flies"},
    "run": {"walk": "runs", "drive": "drives fast", "fly": "flies fast"},
}
IN_PLACE = {
    "stand": "stands still",
    "jump": "jumps up and down",
    "spin": "spins around",
    "dance": "dances",
}
ACTIONS = {
    "walk": "walk stroll wander march trot travel move go goes going drive roll cruise ride fly flies float glide "
    "drift crawl creep swim sail slide hike roam strut stride tiptoe explore pass cross",
    "run": "run sprint race gallop dash rush speed chase charge fast quickly quick dart zoom hurry hurries flee jog",
    "stand": "stand stay wait sit sleep rest lie lies idle pose look watch stare graze eat drink still stop parked",
    "jump": "jump hop leap bounce skip",
    "spin": "spin rotate twirl whirl pirouette circle",
    "dance": "dance disco boogie groove waltz sway shimmy shimmies party parties celebrate",
}
DIRECTIONS = {
    "left": "left leftward leftwards west",
    "right": "right rightward rightwards east",
}
SCENES = {
    "in a green meadow": "meadow grass grassy field prairie pasture garden park lawn farm countryside hill valley "
    "savanna savannah steppe",
    "in a forest": "forest wood jungle tree rainforest woodland pine grove bamboo",
    "in the desert": "desert sand sandy dune sahara canyon wasteland",
    "on the beach": "beach sea ocean coast shore seaside island lake river water bay lagoon pool",
    "in the snowy mountains": "mountain alp arctic ice icy glacier antarctica peak himalayas ski",
    "in the city": "city cities town street road downtown urban highway village building skyscraper traffic market",
    "on the moon": "moon space lunar mars martian planet crater galaxy",
}
MOON = "on the moon"  # where it is always night and clear
TIMES = {
    "": "day daytime daylight morning noon midday afternoon",
    "at sunset": "sunset dusk evening twilight sundown sunrise dawn",
    "at night": "night midnight nighttime dark darkness star starry moonlight moonlit",
}
WEATHERS = {
    "": "clear sunny sunshine cloudless",
    "in the rain": "rain rainy raining storm stormy thunderstorm drizzle downpour shower wet",
    "in falling snow": "snow snowy snowing snowfall blizzard snowflake hail",
}

# Two or three words that mean one of those above.
PHRASES = {
    "snowy mountain": "mountain",
    "snow mountain": "mountain",
    "snow field": "mountain",
    "polar bear": "sheep",
    "race car": "car",
    "sports car": "car",
    "fire truck": "bus",
    "fire engine": "bus",
    "space ship": "spaceship",
    "flying saucer": "saucer",
    "steam train": "train",
    "t rex": "dinosaur",
    "up and down": "jump",
}

# They say nothing that a sentence of the world could show, and their loss is not worth a word.
STOP_WORDS = frozenset(
    """a an the and or of in on at to with by for from into through across along over under among around near beside
    behind above below inside outside up down it its is are was be being his her their this that which who as while then
    very some there does do during surface side glow""".split()  # noqa: SIM905 (a list of them is hard to read)
)

# They look like words above, and are not slips of them.
NO_SLIPS = frozenset(
    """beard board boarding camera canvas castle clouds crowd detail details elegant forever glass glowing house light
    motion movie paint painting plant plants render rendered rendering renders skies skin stage stone stones style
    surreal three walls warm weather""".split()  # noqa: SIM905
)
