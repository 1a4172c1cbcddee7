"""How the bundled model is made: on mocks that are observed afresh at every step."""
