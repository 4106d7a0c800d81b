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

/// The same for each class by itself.
const SINGLES: &[u8; 36] = b"popoqonopkmpoppolppqpmmnnlqpmnsmnoor";

/// The estimated logarithm of how often three bytes stand together, from their pairs.
pub(super) fn of_three(a: u8, b: u8, c: u8) -> i32 {
    let (a, b, c) = (class(a), class(b), class(c));
    i32::from(PAIRS[a][b]) + i32::from(PAIRS[b][c]) - i32::from(SINGLES[b])
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
        let three = |text: &[u8; 3]| of_three(text[0], text[1], text[2]);
        for (rare, common) in [(b"xox", b"ing"), (b"glp", b"the"), (b"AKI", b"ion"), (b"hvs", b"str")] {
            assert!(three(rare) < three(common), "{} {}", rare.escape_ascii(), common.escape_ascii());
        }
    }
}
