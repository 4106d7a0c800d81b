//! How often bytes follow each other in source code, to tell rare windows of anchors from common ones.
//!
//! Counted over 72 MB of Rust, JavaScript, C, Markdown, TOML and JSON. Only ranks matter, so logarithms are enough.

/// The classes of bytes that are told apart, besides all others; digits count as `0`, letters without their case.
const CLASSES: &[u8; 35] = b"abcdefghijklmnopqrstuvwxyz0_-. \"=:/";

/// For each class and the class that follows: the binary logarithm of how often that is among 2^20 pairs, `a` for 0.
const PAIRS: [&[u8; 36]; 36] = [
    b"hkllijkfkfjmlmekfmmnjiiijfjkghkgdhgj",
    b"khigkggdkjekghjgdiihkeedjcjhghmhcgfj",
    b"lijhlifljdkkignifliljgffhcjlghjhdigk",
    b"khhjmhjgleeigfkhejjijggghcjlhimhgjfl",
    b"ljlmkljgighllnikknmmhkjlkfjljkniglgm",
    b"khhikkidlbdkhklgdkjijcedhcjjgjlffiek",
    b"ifgelffilceigjifdjjiieedgghjgikgdihk",
    b"lffgmfddlbefiekfdihjidgbfdhjfhkhehek",
    b"kjllklkegdglknlkfkmmekdickiiegifegfj",
    b"gdecjcdbgbebbbhdccidgbbacbdfcefcbcbg",
    b"ifghlfgeibcfeggfceiggeebdcgjfgjfcidj",
    b"lhhkmkhfmcilgglhegkkkggejcikghkgeihk",
    b"lihimffekefjjfklefjhkfedfchkhhkfchij",
    b"lglmmjmgkejkgiljehmmkjidifikhimheifl",
    b"hjklhkifkgjklnjlcmkkljkhfdgkgglgdhgj",
    b"lghhlgeijbikieljeljlmgefibikghjfdifk",
    b"fdeffdecebbdedecffeejccbccegcefcbebj",
    b"mhjjnikflbiijkmhelllkihfkchkhjmhejfl",
    b"kgkgnghkldijiikkfilnkghejeilhkmigkil",
    b"mgkinignmcfjigmjdmlklghilgkmijnhfkgm",
    b"imjjkjickcclklgjbllmedcgcdlgddhecfch",
    b"kdgflgedjbcgffihcegeedegcdihefgdbgdi",
    b"jeffjeejkccgeijecjigcdfdccfiefiecgcj",
    b"ihiiiicghbbgfdfjdegkcddffbljhgifdhej",
    b"hggehffegcchhiikcgjjdeffddgkgilgdiek",
    b"gddfkdcdgbbfeehcccecdbdcedfhcdffbfcg",
    b"jjiiiieffdehffffdfffhfdldeplikljcjgn",
    b"kllkkkjjlgjkkkklgkllkjjhfgkkadgcbebi",
    b"hhhggggfgedhggggchhggffdcejbjeideack",
    b"ihjhiiiijhfiihhjdijiigheeekgbijfeagl",
    b"mlnllmkkmhjlllmmhlmnmkljiinkkirlnhmo",
    b"ighhghgghdegggghcghhgfgfdehffhihciel",
    b"dddcedccdbbccedcbdefcebbbbgbbbnhkabj",
    b"hhjhhiggidefhihhehiigggddegfccmddmij",
    b"ggihgfhggedhghfhchhggefecdhbcemebbnl",
    b"kklkkkjjlgijkkkmfklkkjijghmiikpkjilq",
];

/// The least for a part of one of [`WORDS`].
const OF_WORD: i32 = 12;

/// The same for each class by itself.
const SINGLES: &[u8; 36] = b"popoqonopkmpoppolppqpmmnnlqpmnsmnoor";

/// Words that are so frequent that pairs of letters do not tell: a part of one is no rare window.
const WORDS: &[&[u8]] = &[
    b"hello", b"return", b"types", b"default", b"define", b"flags", b"field", b"ding", b"path", b"attribute", b"base",
    b"pattern", b"string", b"http", b"github", b"buffer", b"link", b"option", b"position", b"inter", b"entry", b"format",
    b"sign", b"second", b"service", b"include", b"config", b"number", b"insert", b"push", b"root", b"trace", b"space",
    b"decode", b"state", b"start", b"type", b"match", b"mark", b"script", b"process", b"version", b"array", b"struct",
    b"public", b"static", b"const", b"message", b"error", b"print", b"value", b"index", b"length", b"object", b"import",
    b"native", b"context", b"program", b"section", b"machine",
];

/// The estimated logarithm of how often these bytes stand together, from their pairs.
pub(super) fn of(bytes: &[u8]) -> i32 {
    let pairs: i32 = bytes.windows(2).map(|pair| i32::from(PAIRS[class(pair[0])][class(pair[1])])).sum();
    let inner: i32 = bytes.iter().skip(1).take(bytes.len().saturating_sub(2)).map(|b| single(*b)).sum();
    let of_pairs = pairs - inner - i32::from(b'a');
    let is_of_word = WORDS.iter().any(|word| word.windows(bytes.len()).any(|w| w.eq_ignore_ascii_case(bytes)));
    if is_of_word { of_pairs.max(OF_WORD) } else { of_pairs }
}

/// Where in an anchor the window of this length stands that texts have least often.
pub(super) fn rarest(anchor: &[u8], length: usize) -> usize {
    (0..=anchor.len().saturating_sub(length)).min_by_key(|at| of(&anchor[*at..at + length])).unwrap_or(0)
}

fn single(byte: u8) -> i32 {
    i32::from(SINGLES[class(byte)])
}

fn class(byte: u8) -> usize {
    let byte = if byte.is_ascii_digit() { b'0' } else { byte.to_ascii_lowercase() };
    CLASSES.iter().position(|class| *class == byte).unwrap_or(CLASSES.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_common_and_prefixes_are_rare() {
        for (rare, common) in [(b"xox", b"ing"), (b"glp", b"the"), (b"AKI", b"ion"), (b"hvs", b"str")] {
            assert!(of(rare) < of(common), "{} {}", rare.escape_ascii(), common.escape_ascii());
        }
        assert_ne!(rarest(b"trello", 4), 2, "`ello` is in every greeting");
    }
}
