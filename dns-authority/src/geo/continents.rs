//! Knows the continent of each country, for databases that only tell the country.

/// The code of the continent of a country with an ISO 3166 code; `None` for codes nobody has.
pub(super) fn of(country: &str) -> Option<&'static str> {
    let is_there = |countries: &str| countries.split(' ').any(|it| it == country);
    let (continent, _) = COUNTRIES.iter().find(|(_, it)| is_there(it))?;
    Some(continent)
}

const COUNTRIES: &[(&str, &str)] = &[
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG \
         ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK \
         MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI \
         LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI \
         PA PM PR SV SX TC TT US VC VG VI",
    ),
    (
        "OC",
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn puts_each_country_on_one_continent() {
        let all: Vec<&str> = COUNTRIES.iter().flat_map(|it| it.1.split(' ')).collect();
        let distinct: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|it| it.len() == 2), "{all:?}");
        // ISO 3166 has 249, and Kosovo goes by a code that users chose.
        assert_eq!(all.len(), 250);

        assert_eq!(of("DE"), Some("EU"));
        assert_eq!(of("AS"), Some("OC"));
        assert_eq!(of("ZZ"), None);
    }
}
