"""Everyday English words by the place they can take in a sentence; `sentences` puts them there.

``word=form`` gives an irregular form (plural of a noun, past of a verb); a verb with ``+`` doubles its
last letter (drop+, dropped). American spelling; no names of persons.
"""


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


PEOPLE = _split("""
teacher doctor neighbor farmer driver nurse student baker sailor waiter waitress singer dancer painter
writer lawyer judge captain pilot soldier guard guide tourist visitor stranger manager worker carpenter
plumber gardener butcher barber cook chef fisherman=fishermen hunter shepherd miner builder engineer
scientist chemist dentist surgeon librarian editor reporter photographer actor actress musician drummer
pianist coach player runner swimmer skater climber cyclist child=children boy girl man=men woman=women
baby uncle aunt cousin brother sister father mother grandfather grandmother nephew niece husband
wife=wives friend guest host owner boss clerk cashier customer tailor jeweler mechanic inspector mayor
governor senator president king queen prince princess priest monk poet author tutor professor pupil
""")

THINGS = _split("""
table chair lamp clock mirror pillow blanket curtain carpet shelf=shelves drawer basket bucket barrel box
bottle cup glass plate bowl spoon fork knife=knives pan kettle stove oven toaster candle match lighter
pencil pen brush book notebook letter envelope stamp postcard magazine newspaper map ticket coin wallet
purse bag suitcase backpack umbrella hat coat jacket sweater shirt scarf glove boot shoe sock belt button
zipper ring necklace bracelet watch key lock chain rope string ladder hammer nail screw saw drill shovel
rake hoe hose wheel tire engine pump pipe wire battery switch plug cable radio television computer
keyboard screen camera telephone speaker microphone guitar violin piano=pianos trumpet drum flute bell whistle
ball bat racket kite doll puzzle toy swing tent sled canoe anchor paddle sail flag banner poster picture
painting statue vase fountain bench fence gate door window roof chimney wall brick tile board log branch
leaf=leaves flower rose tulip seed bush stone pebble shell feather nest jar tray towel soap_dish sponge
broom mop vacuum needle thread ribbon quilt cradle crib bicycle helmet package parcel crate folder file
calendar diary dictionary magnet compass telescope lantern flashlight mask costume crown medal trophy
""")

FOODS = _split("""
bread butter cheese milk coffee tea soup stew rice pasta honey jam salt pepper sugar flour cream yogurt
chicken beef pork fish shrimp ham bacon lettuce spinach cabbage corn garlic ginger chocolate ice_cream
cake pie pudding candy popcorn toast cereal oatmeal lemonade cider juice water salad gravy mustard
vinegar olive_oil peanut_butter cinnamon vanilla
""")

PRODUCE = _split("""
apple orange banana pear peach plum cherry grape lemon lime melon strawberry blueberry raspberry carrot
potato tomato onion bean pea mushroom pumpkin radish turnip cucumber pepper nut almond walnut egg muffin
cookie pancake waffle sandwich sausage pretzel cracker biscuit
""")

ANIMALS = _split("""
dog cat horse cow goat sheep=sheep pig hen rooster duck goose=geese rabbit mouse=mice squirrel fox
wolf=wolves bear deer=deer moose=moose lion tiger elephant monkey zebra giraffe camel kangaroo turtle
frog snake lizard spider beetle butterfly bee ant cricket owl eagle hawk crow sparrow robin pigeon swan
parrot penguin dolphin whale shark seal otter beaver raccoon skunk donkey pony puppy kitten lamb calf=calves
""")

PLACES = _split("""
kitchen bedroom bathroom garage basement attic hallway garden yard barn stable farm village town city
market store shop bakery library museum theater hospital school college office factory warehouse bank
church temple castle palace tower bridge tunnel harbor beach island river lake pond creek waterfall
forest valley mountain hill meadow field desert cave canyon park playground stadium gym pool station
airport hotel restaurant cafe bar corner street highway avenue alley sidewalk parking_lot courtyard
cabin cottage apartment balcony porch lobby elevator classroom laboratory studio courthouse prison
post_office lighthouse windmill orchard vineyard pasture swamp shore cliff campground zoo aquarium
""")

LOOKS = _split("""
old new small large tiny huge heavy light thin thick narrow wide long short round square flat sharp
smooth rough soft hard clean dirty dusty shiny bright dark pale empty full open broken cracked rusty
wooden metal plastic paper leather silver golden red blue green yellow orange purple brown black white
gray pink striped plain fancy cheap expensive modern ancient strange simple lovely ugly warm cold hot
cool wet dry fresh rotten loud noisy strong weak solid hollow tall low deep shallow curved crooked
straight painted polished folded torn faded spare extra secondhand missing lost famous favorite useful
perfect awful beautiful wonderful enormous ordinary massive transparent invisible elegant
colorful valuable worthless comfortable practical powerful portable sticky slippery bitter sour sweet
""")

TRAITS = _split("""
kind clever honest brave shy proud gentle patient curious cheerful lazy busy careful careless polite
rude wise foolish friendly lonely nervous calm angry happy sad tired hungry thirsty sleepy worried
excited surprised bored confused grateful jealous generous stubborn serious funny young elderly rich
poor healthy sick famous skillful talented thoughtful quick slow
""")

HANDLING = _split("""
carry push pull lift drop+ throw=threw catch=caught hold=held find=found lose=lost hide=hid bring=brought
take=took send=sent buy=bought sell=sold steal=stole borrow repair fix build=built break=broke paint wash
clean polish dry cover wrap+ open close move shift turn touch grab+ kick roll measure weigh check
inspect examine study draw=drew describe photograph admire choose=chose pick order deliver return replace
remove store collect count share trade display leave=left forget=forgot need want notice watch
""")

EATING = _split(
    "cook bake boil fry grill taste slice chop+ mix serve eat=ate order prepare heat freeze=froze"
)

DOING = _split("""
walk run=ran jump swim=swam dance sing=sang laugh smile cry shout whisper wait sleep=slept rest work
travel march climb crawl hurry stop+ listen speak=spoke wander ride=rode fish read=read write=wrote
practice exercise argue complain cheer wave nod+ stumble return arrive stay sit=sat stand=stood
""")

CREATURE_DOING = _split("""
run=ran jump sleep=slept hide=hid rest wait crawl climb eat=ate drink=drank play wander disappear
escape turn breathe bite=bit sneeze stretch
""")

HOW = _split("""
quickly slowly quietly loudly carefully gently happily sadly suddenly finally patiently politely
bravely calmly nervously eagerly gladly easily hardly quite_well together alone again at_once all_day
in_silence without_a_word in_a_hurry with_great_care for_an_hour for_a_while as_usual over_and_over
""")

WHEN = _split("""
today tonight yesterday this_morning this_afternoon last_night last_week last_month last_summer
last_winter two_days_ago an_hour_ago a_year_ago before_noon after_lunch before_dinner after_the_storm
at_midnight at_sunrise at_dawn during_the_holidays on_the_weekend after_school a_moment_ago
early_in_the_morning late_in_the_evening
""")

SOON = _split("""
tomorrow tonight soon later next_week next_month next_year this_evening after_breakfast before_dark
in_an_hour in_a_minute by_the_end_of_the_day as_soon_as_possible tomorrow_morning in_the_spring
""")

EVENTS = _split("""
meeting party wedding concert lecture lesson game race match show parade festival fair picnic dinner
ceremony election debate trial interview exam contest auction storm flood fire earthquake strike
celebration conference vacation trip journey voyage flight tour performance rehearsal speech
""")

IDEAS = _split("""
plan idea problem answer question reason secret story rumor promise mistake decision choice
project report study theory method result project budget price cost tax law rule contract agreement
offer request warning message habit memory dream hope fear chance risk danger skill talent custom
tradition opinion argument subject language culture history future peace freedom justice truth growth
health science music weather traffic education energy safety pollution
""")

MATERIALS = _split(
    "wood stone brick glass steel iron copper silver gold cotton wool silk leather paper clay wax"
)
JUDGED = _split("""
important difficult easy dangerous safe possible impossible interesting boring reasonable terrible
necessary obvious clear unusual common expensive popular fair unfair helpful risky true false
""")
WEATHER = _split("""
cold warm windy rainy cloudy sunny foggy snowy stormy humid mild freezing dry chilly pleasant gloomy
""")
NUMBERS = _split("""
two three four five six seven eight nine ten eleven twelve fifteen sixteen eighteen twenty thirty
forty fifty sixty seventy eighty ninety twenty-five thirty-two a_hundred two_hundred a_thousand
""")
HOURS = _split("one two three four five six seven eight nine ten eleven twelve")
ORDERS = _split("first second third fourth fifth sixth seventh eighth ninth tenth twelfth twentieth")
DAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _split("""
January February March April May June July August September October November December
""")
UNITS = _split(
    "miles feet inches yards pounds ounces gallons minutes hours days weeks months years dollars cents"
)
BODY = _split("""
head face eye ear nose mouth chin neck shoulder arm elbow wrist hand finger thumb chest back leg knee
ankle foot toe stomach heart
""")
VEHICLES = _split("""
car bus truck train boat ship ferry taxi van tractor ambulance subway helicopter airplane motorcycle
wagon carriage scooter trolley
""")
GROUPS = _split("""
company government committee council team army school board union club family audience crowd court
""")
NEAR = _split("""
near behind beside in_front_of next_to across_from above below beyond outside close_to
""")
COUNTRY = _split("north south east west northern_coast southern_border")
MOODS = _split("really certainly probably perhaps usually often sometimes rarely never always almost simply")
LENGTHS = _split("miles blocks yards steps feet")
MINUTES = _split("ten fifteen twenty thirty forty forty-five")
DRINKS = _split("coffee tea milk juice water cider lemonade cocoa soup")

OPENERS = _split("""
honestly luckily unfortunately by_the_way in_fact of_course as_far_as_I_know to_be_fair at_first
in_the_end on_the_other_hand for_example of_all_things frankly apparently surprisingly clearly
after_all in_general for_once strangely_enough believe_it_or_not
""")
FEELINGS = _split("""
joy anger pride shame relief comfort pleasure delight sorrow grief pity courage confidence doubt
confusion silence panic surprise envy kindness respect trust hatred laughter sympathy disappointment
excitement boredom curiosity patience loneliness warmth
""")
HOBBIES = _split("""
hiking sewing knitting fishing sailing rowing skiing cycling gardening camping hunting bowling boxing
chess tennis golf soccer baseball basketball hockey volleyball gymnastics wrestling archery yoga
photography pottery singing reading jogging juggling baking surfing diving
""")
SUBJECTS = _split("""
geography mathematics physics chemistry biology economics grammar poetry philosophy astronomy
medicine engineering agriculture journalism architecture literature politics religion psychology
algebra geometry Spanish French German Japanese
""")
SAYING = _split("""
say=said think=thought believe claim suggest admit+ deny insist hear=heard know=knew learn suspect
report guess hope assume imagine pretend discover mention repeat
""")

LISTS = {
    "person": PEOPLE, "thing": THINGS, "food": FOODS, "produce": PRODUCE, "animal": ANIMALS, "place": PLACES,
    "look": LOOKS, "trait": TRAITS, "handle": HANDLING, "eat": EATING, "do": DOING,
    "creature": CREATURE_DOING,
    "how": HOW, "when": WHEN, "soon": SOON, "event": EVENTS, "idea": IDEAS, "material": MATERIALS,
    "judged": JUDGED, "weather": WEATHER, "number": NUMBERS, "hour": HOURS, "order": ORDERS, "day": DAYS,
    "month": MONTHS, "unit": UNITS, "body": BODY, "vehicle": VEHICLES, "group": GROUPS, "near": NEAR,
    "side": COUNTRY, "mood": MOODS, "length": LENGTHS, "minute": MINUTES, "drink": DRINKS,
    "opener": OPENERS, "feeling": FEELINGS, "hobby": HOBBIES, "subject": SUBJECTS, "saying": SAYING,
}  # fmt: skip
