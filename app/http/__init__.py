"""The HTTP vocabulary that every capability's routes share: envelope, errors, input, validators, instants."""
