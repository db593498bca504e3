"""Documents to passages: five strategies behind one interface."""
