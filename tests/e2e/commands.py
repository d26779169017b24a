"""Shell commands that stand for renders: they note each start and end on the volume's work folder,
and hold a frame until the test opens a gate, so that a fault falls where the test wants it.

The renderer `general` runs them in the attempt's folder, two levels below `work`.
"""

OUTPUT = 'echo "frame $DRQUEUE_FRAME" > "out.$(printf %04d "$DRQUEUE_FRAME")"'
START = 'echo "$DRQUEUE_FRAME" >> ../../started'
END = 'echo "$DRQUEUE_FRAME" >> ../../ended'
GATE = "until [ -e ../../go ]; do sleep 0.1; done"

QUICK = f"{START}; {OUTPUT}; {END}"
"""A frame of no time."""
GATED = f"{START}; {GATE}; {OUTPUT}; {END}"
"""A frame that ends once the test has made work/go."""
FILES = ["out.####"]
