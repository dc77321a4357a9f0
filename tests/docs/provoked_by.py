PROVOKED_BY: dict[str, str] = {}
