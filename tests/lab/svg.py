"""Reading the pictures that displays draw."""

import xml.etree.ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


def root(display):
    return ET.fromstring(display.svg())


def parts(display, kind):
    """Its groups of that class."""
    return [
        one for one in root(display).iter(f"{SVG}g") if kind in (one.get("class") or "").split()
    ]


def words(element):
    """Its texts, each as a whole."""
    return ["".join(one.itertext()) for one in element.iter(f"{SVG}text")]


def hint(group):
    """What resting the mouse on it shows."""
    return group.find(f"{SVG}title").text
