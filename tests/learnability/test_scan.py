"""SCAN is the published data set, and small models learn it."""

from scan_commands import commands, split_by_length, split_by_primitive

# From the paper's table of examples (Lake and Baroni 2018).
EXAMPLES = {
    "jump": "JUMP",
    "jump left": "TURN-LEFT JUMP",
    "jump around right": "TURN-RIGHT JUMP TURN-RIGHT JUMP TURN-RIGHT JUMP TURN-RIGHT JUMP",
    "turn left twice": "TURN-LEFT TURN-LEFT",
    "jump thrice": "JUMP JUMP JUMP",
    "jump opposite left and walk thrice": "TURN-LEFT TURN-LEFT JUMP WALK WALK WALK",
    "jump opposite left after walk around left": (
        "TURN-LEFT WALK TURN-LEFT WALK TURN-LEFT WALK TURN-LEFT WALK TURN-LEFT TURN-LEFT JUMP"
    ),
}


def test_the_commands_are_the_published_ones():
    every = commands()
    assert len(every) == 20910
    assert max(len(actions) for actions in every.values()) == 48
    for command, actions in EXAMPLES.items():
        assert every[tuple(command.split())] == tuple(actions.split())


def test_the_splits_have_the_published_sizes_and_share_nothing():
    for (trained, tested), sizes in ((split_by_length(), (16990, 3920)), (split_by_primitive(), (13204, 7706))):
        assert (len(trained), len(tested)) == sizes
        assert not trained.keys() & tested.keys()
    assert min(len(actions) for actions in split_by_length()[1].values()) == 24
    assert [command for command in split_by_primitive()[0] if "jump" in command] == [("jump",)]
