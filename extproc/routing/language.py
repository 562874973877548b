"""The language of a text, by its script and its commonest words, for the languages that most people write.

Languages with a script of their own are told by it, those that share one by words and letters that the others do not have. Only a sample is read, and
a text that is too short, or mixed, has no language here: a wrong one would route it wrongly.
"""

from __future__ import annotations

import re

_SAMPLE = 600
"""Characters that are read."""
_FEWEST = 8
"""Letters below which a text written in an alphabet says nothing. Signs of Chinese, Japanese and Korean say more each."""
_FEWEST_SIGNS = 2

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\S+@\S+|<[^<>\n]{1,80}>", re.DOTALL)
_WORD = re.compile(r"[^\s\d!-@\[-`{-~\u00a0-\u00bf\u2000-\u206f\u060c\u061b\u061f\u06d4\u0964\u0965]+")
"""Not `\\w`, which leaves out the vowels of Indian scripts."""

_SCRIPTS: dict[str, str] = {
    "latin": "A-Za-zªº\u00c0-\u024f\u1e00-\u1eff",
    "cyrillic": "\u0400-\u04ff",
    "arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "kana": "\u3040-\u30ff",
    "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "devanagari": "\u0900-\u097f",
    "bn": "\u0980-\u09ff",
    "pa": "\u0a00-\u0a7f",
    "gu": "\u0a80-\u0aff",
    "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f",
    "kn": "\u0c80-\u0cff",
    "ml": "\u0d00-\u0d7f",
    "th": "\u0e00-\u0e7f",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u0590-\u05ff",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0530-\u058f",
}
_RUN = re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in _SCRIPTS.items()))
_LATIN = re.compile("[A-Za-z]")

_WORDS: dict[str, dict[str, str]] = {
    "latin": {
        "en": "the of and to in is it you that for with are this be on have not what how can from would which my was "
        "please do your there an me about by all if as at or we they so but get use make has should when i",
        "de": "der die das und ist nicht ich zu den mit ein eine sie es auf für von "
        "wie was dem im auch bitte kann sich wir mir einen oder bei wird nach",
        "fr": "le la les des est et une un que pour dans qui pas je vous sur avec ce il au du comment "
        "quel quelle mon sont plus nous être cette ou où l d qu j peux tu ton moi trois",
        "es": "el la los las de que y en un una es por para con no se del cómo qué está mi como más puedo este pero su al lo cuál hay muy son entre",
        "pt": "o os as de que e do da em um uma é não para com por mais como se na no você ao meu isso são está uma qual dos das pelo pode mas fazer",
        "it": "il lo gli di che è e un una per non con del della sono come mi si nel alla dei le più questo cosa può anche qual perché ho ma quali",
        "nl": "de het een en van is dat niet ik te in op voor met zijn je wat hoe kan er maar aan om ook deze mijn bij naar wordt heb uit dit",
        "pl": "i w nie na to się jest do z że jak co czy o dla po jestem mnie ale od przez może który która proszę są tego moje ten za być",
        "tr": "ve bir bu için ne nasıl ile da de mi çok olarak daha bana ben var gibi nedir değil kadar en olan benim lütfen mı mu ama şu hangi",
        "id": "yang dan di untuk dengan ini itu tidak adalah dari apa saya bagaimana "
        "pada ke dalam bisa kamu akan atau ada juga tolong anda karena oleh",
        "vi": "và là của có không cho tôi một các được này với người như những trong để làm thế nào bạn từ khi gì cách về đã hãy nhất ở",
        "sv": "och att det är en som på jag för med inte till av hur kan den ett har du vad de om mig var från eller min vilka ska",
        "da": "og det er en at jeg til på for ikke med der af hvordan kan den et har du hvad de om mig fra eller min hvilke skal være også",
        "no": "og det er en å jeg til på for ikke med som av hvordan kan den et har du hva de om meg fra eller min hvilke skal være også",
        "fi": "ja on ei että se minun miten mitä voi ovat kuin mutta tämä oli minä en hän sen jos niin mikä kanssa ole voin tai myös siitä olen",
        "cs": "a je se na v že jak to co pro s do není jsem z ale jako by které o po "
        "jsou tak mi může za ve který nebo prosím být jaké jaká jaký můžeš tento",
        "ro": "și este de la în un o nu ce cu care pentru pe mai cum din sunt am să se că fi sau îmi poate acest această cea al despre",
        "hu": "a az és egy hogy nem van is meg ez mi kell hogyan de vagy mint csak lehet ezt azt nekem el már ha kérlek milyen mit vagyok volt",
    },
    "cyrillic": {
        "ru": "и в не на что я с как это по для а мне из к но у за вы мы от так о же если какой "
        "можно есть все он она его или какая какое какие напишите пожалуйста эта этого этот",
        "uk": "і в не на що я з як це по для а мені із до але у за ви ми від так про же якщо "
        "який можна є всі він вона його або та яка яке які напишіть будь цього ця",
        "bg": "и в не на че аз с как това по за а ми от до но у се вие ние така ако какво може има са той тя или да е как ще",
        "sr": "и у не на да ја са како је то по за ми из до али се ви ми од тако о ако шта може има су он она или који би",
    },
    "arabic": {
        "ar": "في من على ما أن هو إلى هذا التي عن مع هل كيف لا كان هي ذلك الذي أو كل قد لم بين أنا يمكن إن هذه لي و بعد",
        "fa": "در از به که را این است با برای چه من آن و هم می چگونه یک تا بر خود ها شما کنم باشد های اما یا هر آیا لطفا کجاست چیست من نمی",
        "ur": "کے کی ہے میں کا سے کو اور یہ نے پر کہ ہیں اس کیا ایک بھی نہیں کر وہ تھا آپ مجھے جو لیے کیسے گیا ہو ہوں",
    },
    "devanagari": {
        "hi": "है के में की का और से को एक यह पर नहीं क्या कि मैं हैं ने इस कैसे मुझे लिए भी जो था आप करने हो तो कर अपने कृपया मेरे राजधानी करता करें लिखें",
        "mr": "आहे आणि मी या तो ते ची चा चे मला कसे काय नाही एक हे की ला त्या होते आहेत साठी मध्ये करा तुम्ही पण ही कोणते असे",
        "ne": "छ र को मा म यो लाई हो के गर्न पनि एक कसरी छन् गर्नुहोस् मेरो भने तर हुन्छ गरेको थियो तपाईं बाट त्यो यस",
    },
}
_PROFILES: dict[str, dict[str, tuple[str, ...]]] = {}
"""{script: {word: the languages that use it}}"""
for _script, _languages in _WORDS.items():
    _profile: dict[str, list[str]] = {}
    for _language, _text in _languages.items():
        for _one in dict.fromkeys(_text.split()):
            _profile.setdefault(_one, []).append(_language)
    _PROFILES[_script] = {_one: tuple(_found) for _one, _found in _profile.items()}

_LETTERS: dict[str, dict[str, str]] = {
    "latin": {
        "de": "ßäöü",
        "es": "ñ¿¡",
        "pt": "ãõç",
        "pl": "łąęśźżń",
        "tr": "ğışç",
        "cs": "řůěčž",
        "ro": "ățșţş",
        "hu": "őűöü",
        "da": "æøå",
        "no": "æøå",
        "sv": "åäö",
        "fi": "äö",
        "fr": "œêèùçà",
        "it": "èàòùì",
        "vi": "đơưạảấầẩậắằặẹẻẽếềểệỉịọỏốồổộớờởợụủứừửựỳỹ",
    },
    "cyrillic": {"uk": "їєіґ", "ru": "ыэё", "bg": "ъщ", "sr": "ђћџљњј"},
    "arabic": {"fa": "پچژگک", "ur": "ٹڈڑےںھہ", "ar": "ةىأإؤئيك"},
    "devanagari": {"mr": "ळ"},
}
"""Letters by which a language can be known; each that occurs counts as a word, shared with the languages that have it, too."""
_NEVER: dict[str, str] = {
    "ru": "їєіґђћџљњј",
    "uk": "ыэёъђћџљњј",
    "bg": "ыэёїєіґђћџљњј",
    "sr": "щъыьэюяёїєі",
    "ar": "پچژگکیےٹڈڑںھہ",
    "fa": "ةكيےٹڈڑںھہ",
    "ur": "ةكي",
    "en": "ąćęłńśźżßñãõőűřůěčđơưğışțșåæø",
}
"""Letters that a language does not have: one of them, and it is another."""


_SPEAKERS: dict[str, dict[str, tuple[str, ...]]] = {
    script: {letter: tuple(one for one, own in languages.items() if letter in own) for letter in "".join(languages.values())}
    for script, languages in _LETTERS.items()
}
_FOREIGN = {one: re.compile(f"[{letters}]") for one, letters in _NEVER.items()}


def language(text: str) -> str | None:
    """ISO 639-1, or None where it cannot be told."""
    sample = _NOT_PROSE.sub(" ", text[:_SAMPLE])
    counts: dict[str | None, int] = {"latin": len(_LATIN.findall(sample))} if sample.isascii() else {}
    if not counts:
        for run in _RUN.finditer(sample):
            counts[run.lastgroup] = counts.get(run.lastgroup, 0) + run.end() - run.start()
    if not counts:
        return None
    script = max(counts, key=counts.__getitem__)
    if script in ("han", "kana"):
        signs = counts.get("han", 0) + counts.get("kana", 0)
        if signs < _FEWEST_SIGNS:
            return None
        # Japanese prose is never without kana, Chinese always is
        return "ja" if counts.get("kana", 0) * 8 >= signs else "zh"
    if script == "ko":
        return "ko" if counts["ko"] >= _FEWEST_SIGNS else None
    if counts[script] < _FEWEST or counts[script] * 2 < sum(counts.values()):
        return None
    return _by_words(sample.lower(), script) if script in _PROFILES else script


def _by_words(sample: str, script: str) -> str | None:
    words = _WORD.findall(sample)
    profile = _PROFILES[script]
    scores: dict[str, float] = {}
    for word in words:
        known = profile.get(word, ())
        for one in known:
            # a word that several languages use says less of each
            scores[one] = scores.get(one, 0.0) + 1.0 / len(known)
    if not sample.isascii():
        for letter, known in _SPEAKERS[script].items():
            if letter in sample:
                for one in known:
                    scores[one] = scores.get(one, 0.0) + 1.0 / len(known)
        scores = {one: score for one, score in scores.items() if _FOREIGN.get(one) is None or not _FOREIGN[one].search(sample)}
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    if not ranked:
        return None
    best, score = ranked[0]
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    return best if score >= max(0.9, len(words) * 0.12) and score >= second * 1.25 and score > second else None
