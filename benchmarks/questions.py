"""Documents that are made for the answer benchmark, and questions that each of them answers."""

from __future__ import annotations

from typing import NamedTuple

PLACES = (
    "Kerzenfels Tornby Haldmoor Visterby Oskarhamn Lindvik Brennau Sollwick Varnholm Eskerode Mirstad Falkenau Nordby "
    "Grimsund Altvik Rothmoor Stavenes Ulmendorf Hesterby Quellin Drakmar Ironside Weselund Jarlshof Pellworm Tinsdal"
).split()
PEOPLE = "Marta Olsund, Henrik Vaal, Ada Brandt, Josef Lind, Ingrid Sommer, Paul Ekholm, Clara Weiss".split(", ")
STONES = "red granite, grey basalt, white limestone, black slate, yellow sandstone".split(", ")

TEMPLATE = """# {place}

## Harbour

The harbour of {place} lies on the north side of the bay and is closed to ships of more than {draught} metres draught. \
Its two moles were built by prisoners of war, and the outer one was lengthened after the storm flood. Fishing boats \
land their catch before six in the morning, and the auction in the hall by the quay is open to visitors. A crane from \
the old shipyard still stands at the inner basin, where the museum keeps its three sailing boats. In winter the \
basin freezes, and the boats are lifted out and stored in the sheds behind the customs house.

## Lighthouse

The lighthouse of {place} was built in {year} by the engineer {person}. It stands on a rock of {stone} and is \
{height} metres high. Its lamp can be seen for nineteen sea miles in clear weather. Until the railway came, the keeper \
also sounded the fog horn and wrote down the weather every three hours; his books are kept in the parish archive. \
The tower was painted with a second band after two captains had taken it for the light of the next island.

## Ferries

Ferries from {place} to the islands leave at {hour}:40 every day but Sunday. A return ticket costs {price} crowns for \
adults and half of that for children. Bicycles travel free of charge, dogs need a lead. In heavy weather the crossing \
is cancelled, and passengers may take the bus to the mainland bridge with the same ticket. The crossing takes \
{minutes} minutes, and there is a small restaurant on the upper deck that serves fish soup and bread.
"""
QUESTIONS = (
    "In which year was the lighthouse of {place} built?",
    "Who built the lighthouse of {place}?",
    "How much does a return ticket for the ferries from {place} cost?",
    "On what kind of rock does the lighthouse of {place} stand?",
    "How many minutes does the crossing from {place} to the islands take?",
    "How high is the lighthouse of {place}?",
    "What is the draught above which the harbour of {place} is closed to ships?",
    "When do the ferries from {place} to the islands leave?",
)


class Task(NamedTuple):
    """A document and a question that it answers."""

    name: str
    document: str
    question: str


def make_tasks(count: int) -> list[Task]:
    """As many documents and questions, no two of them the same.

    Raises:
        ValueError: there are not so many place names.
    """
    if count > len(PLACES):
        raise ValueError(f"At most {len(PLACES)} questions can be made")
    tasks = []
    for number, place in enumerate(PLACES[:count]):
        facts = {
            "place": place,
            "person": PEOPLE[number % len(PEOPLE)],
            "stone": STONES[number % len(STONES)],
            "year": 1801 + 7 * number,
            "height": 21 + number,
            "draught": 3 + number % 6,
            "hour": 6 + number % 9,
            "price": 11 + number,
            "minutes": 25 + 3 * number,
        }
        question = QUESTIONS[number % len(QUESTIONS)]
        tasks.append(Task(f"{place}.md", TEMPLATE.format(**facts), question.format(**facts)))
    return tasks
