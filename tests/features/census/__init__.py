"""Programs written for Qdrant's client, and the calls they make, in our own words and values.

135 published programs were read: packages, applications, tutorials. These are the ones that use no
search vecdb has not: they need a constructor, and some of them manners besides (``Program.needs``).
Of what a program calls, each shape stands here once: its verbs, with the parameters it names. The
calls that frameworks make for a tutorial are in ``frameworks``.
"""
