"""Attribution: which campaigns a conversion is credited to, and how much of it each is given.

All of it is rules without I/O, twice: for one conversion, to be read and explained (:mod:`.explaining`), and for a
run's conversions in columns (:mod:`.crediting`). Tests hold the one to the other, to the last cent.
``docs/methodology/attribution.md`` tells it in words.
"""
