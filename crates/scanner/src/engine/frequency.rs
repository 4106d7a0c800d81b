//! How often bytes follow each other in source code, to tell rare windows of anchors from common ones.
//!
//! Counted over 72 MB of Rust, JavaScript, C, Markdown, TOML and JSON. Only ranks matter, so logarithms are enough.

use std::collections::HashSet;
use std::sync::LazyLock;

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

/// What is added for a part of one of [`WORDS`].
const OF_WORD: i32 = 8;

/// The same for each class by itself.
const SINGLES: &[u8; 36] = b"popoqonopkmpoppolppqpmmnnlqpmnsmnoor";

/// Words that are so frequent that pairs of letters do not tell: a part of one is no rare window.
const WORDS: &[&[u8]] = &[
    b"hello",
    b"return",
    b"types",
    b"default",
    b"define",
    b"flags",
    b"field",
    b"ding",
    b"path",
    b"attribute",
    b"base",
    b"pattern",
    b"string",
    b"http",
    b"github",
    b"buffer",
    b"link",
    b"option",
    b"position",
    b"inter",
    b"entry",
    b"format",
    b"sign",
    b"second",
    b"service",
    b"include",
    b"config",
    b"number",
    b"insert",
    b"push",
    b"root",
    b"trace",
    b"space",
    b"decode",
    b"state",
    b"start",
    b"type",
    b"match",
    b"mark",
    b"script",
    b"process",
    b"version",
    b"array",
    b"struct",
    b"public",
    b"static",
    b"const",
    b"message",
    b"error",
    b"print",
    b"value",
    b"index",
    b"length",
    b"object",
    b"import",
    b"native",
    b"context",
    b"program",
    b"section",
    b"machine",
    b"passes",
    b"access",
    b"_access",
    b"_key",
    b"shared",
    b"ings_",
    b"options",
    b"password",
    b"application",
    b"package",
    b"connect",
    b"possible",
    b"assigned",
    b"security",
    b"signal",
    b"verify",
    b"identify",
    b"private",
    b"channel",
    b"fixed",
    b"stack",
    b"status",
    b"client",
    b"replace",
    b"potential",
    b"execute",
    b"present",
    b"split",
    b"docs",
    b"keys",
    b"map_",
    b"binary",
    b"organization",
    b"create_user",
    b"authorization",
    b"logic",
    b"login",
    b"is_not",
    b"notify",
    b"slave",
    b"credential",
    b"_app",
    b"_map",
    b"_sig",
    b"required",
    b"main_",
    b"create",
    b"use_",
    b"line_",
    b"node_",
    b"mode_",
    b"code_",
    b"test_",
    b"key_",
    b"api_",
    b"_auth",
    b"_token",
    b"_not",
    b"_path",
    b"_data",
    b"wait_",
    b"that_is",
    b"then_in",
    b"by_the",
    b"ing_the",
    b"email_",
    b"mailer",
    b"discard",
    b"discover",
    b"network",
    b"enable",
    b"enabled",
];

/// Parts of [`WORDS`] of three and four bytes.
static PARTS: LazyLock<HashSet<&[u8]>> = LazyLock::new(|| {
    let parts = |length| WORDS.iter().flat_map(move |word| word.windows(length));
    parts(3).chain(parts(4)).collect()
});

/// The class of each byte.
const CLASS: [u8; 256] = {
    let mut all = [CLASSES.len() as u8; 256];
    let mut class = 0;
    while class < CLASSES.len() {
        let byte = CLASSES[class];
        all[byte as usize] = class as u8;
        all[byte.to_ascii_uppercase() as usize] = class as u8;
        class += 1;
    }
    let mut digit = b'1';
    while digit <= b'9' {
        all[digit as usize] = all[b'0' as usize];
        digit += 1;
    }
    all
};

/// The estimated logarithm of how often these three or four bytes stand together.
pub(super) fn of(bytes: &[u8]) -> i32 {
    let lower = bytes.to_ascii_lowercase();
    let of_pairs = of_pairs(bytes);
    if PARTS.contains(lower.as_slice()) { of_pairs + OF_WORD } else { of_pairs }
}

/// The same, from pairs of bytes alone.
fn of_pairs(bytes: &[u8]) -> i32 {
    let class = |byte: u8| usize::from(CLASS[usize::from(byte)]);
    let pairs: i32 = bytes.windows(2).map(|pair| i32::from(PAIRS[class(pair[0])][class(pair[1])])).sum();
    let inner = &bytes[1..bytes.len().max(2) - 1];
    let inner: i32 = inner.iter().map(|byte| i32::from(SINGLES[class(*byte)])).sum();
    pairs - inner - i32::from(b'a')
}

/// Where in an anchor the window of three or four bytes stands that texts have least often.
pub(super) fn rarest(anchor: &[u8], length: usize) -> usize {
    let (mut best, mut least) = (0, i32::MAX);
    for (at, window) in anchor.windows(length).enumerate() {
        if of_pairs(window) < least && of(window) < least {
            (best, least) = (at, of(window));
        }
    }
    best
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
