"""The words that the recorded stream is made of: names, tasks and remarks in many scripts."""

# ruff: noqa: RUF001  # letters that look like others are the point

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """What the people of an account write with: a card's title is a task on a thing, a comment a few remarks."""

    people: tuple[str, ...]
    tasks: tuple[str, ...]
    things: tuple[str, ...]
    remarks: tuple[str, ...]

    def person(self, rng: Random) -> str:
        return pick(rng, self.people)

    def title(self, rng: Random) -> str:
        return f"{pick(rng, self.tasks)} {pick(rng, self.things)}"

    def comment(self, rng: Random) -> str:
        said = [pick(rng, self.remarks) for _ in range(1 + int(rng.random() * 4))]
        if rng.random() < 0.3:
            said.insert(0, f"@{self.person(rng)}")
        if rng.random() < 0.25:
            said.append(pick(rng, EMOJI))
        return " ".join(said)


def pick(rng: Random, words: Sequence[str]) -> str:
    """One of ``words``; from ``random()`` alone, which gives the same on every version of Python."""
    return words[int(rng.random() * len(words))]


def pasted_log(rng: Random, size: int) -> str:
    """What people paste into a comment when something broke: at least ``size`` bytes of log."""
    lines: list[str] = []
    written = 0
    while written < size:
        moment = f"2031-04-{1 + len(lines) % 28:02d}T09:{len(lines) % 60:02d}:17Z"
        line = f"{moment} {pick(rng, LEVELS):<5} {pick(rng, PLACES)}: {pick(rng, EVENTS)} ✂ №{len(lines)}"
        lines.append(line)
        written += len(line.encode()) + 1
    return "\n".join(lines)


EMOJI = ("👍", "🎉", "🙏🏽", "🐛", "🚀", "👩‍💻", "🏳️‍🌈", "☕️", "🤷🏻‍♂️", "✅", "🇯🇵", "𝔬𝔨")
LEVELS = ("INFO", "WARN", "ERROR", "DEBUG")
PLACES = ("checkout.basket", "mail.outbound", "search.index", "billing.tax", "media.thumbs", "auth.session")
EVENTS = (
    "gave up after three tries, the other side closed the line",
    "took 2.8 s where 0.3 s are planned",
    "row changed under our feet, trying again",
    "certificate of the partner ends in nine days",
    "nothing to do",
    "naïve clock: Zürich and São Paulo disagree by 4 h",
)

ENGLISH = Language(
    people=("Maud", "Tobias", "Priya", "Oisín", "Chidi", "Zoë"),
    tasks=("Fix", "Rewrite", "Measure", "Ship", "Roll back", "Explain", "Draft", "Paint"),
    things=(
        "the slow checkout page",
        "last year's price list",
        "the welcome mail",
        "our fire-drill checklist",
        "the map on the contact page",
        "invoices with two currencies",
        "the broken export to paper",
    ),
    remarks=(
        "I can take this one.",
        "Can we see it on a small screen first?",
        "Same thing happened in spring, see the old card.",
        "Numbers are in, and they are better than I feared.",
        "Who talks to the printer?",
        "Moved to next week; nobody is in on Friday.",
        "Quote: “it’s fine” — it isn’t.",
        "Done, apart from the last 10 %.",
    ),
)
GERMAN = Language(
    people=("Jürgen", "Käthe", "Sören", "Änne", "Özlem"),
    tasks=("Prüfen:", "Neu schreiben:", "Abschließen:", "Übersetzen:", "Aufräumen:"),
    things=(
        "Maßstäbe der Grundrisse",
        "die Kündigungsfristen",
        "Straßenkarte für den Messestand",
        "Größentabelle",
        "das Gästebuch",
    ),
    remarks=(
        "Das übernehme ich gern.",
        "Bitte erst nach der Frühschicht.",
        "Der Zähler läuft rückwärts, wörtlich.",
        "Schön geworden!",
        "Wer hat den Schlüssel?",
        "Läuft wieder, war der Stecker.",
    ),
)
FRENCH = Language(
    people=("Zoé", "Loïc", "Anaïs", "Benoît"),
    tasks=("Préparer", "Corriger", "Dessiner", "Relire"),
    things=(
        "l’étiquette du fromage",
        "le bon de livraison",
        "la façade côté jardin",
        "le reçu d’août",
        "la carte d’été",
    ),
    remarks=(
        "C’est noté, merci.",
        "Où est passé le modèle ?",
        "Ça marche — enfin !",
        "À revoir après le déjeuner.",
        "Le client préfère l’œuvre en bleu.",
    ),
)
POLISH = Language(
    people=("Łucja", "Żaneta", "Święty Mikołaj", "Grażyna"),
    tasks=("Sprawdzić", "Napisać", "Usunąć", "Wysłać"),
    things=("źródła zdjęć", "żółtą teczkę", "kosztorys łącznika", "listę gości", "ćwiartki z magazynu"),
    remarks=("Już się robi.", "Kto to widział?", "Wróci w środę.", "Świetnie, dziękuję!", "Brakuje jeszcze pieczątki."),
)
SPANISH = Language(
    people=("Íñigo", "Begoña", "Ángel", "Ñusta"),
    tasks=("Revisar", "Pintar", "Traducir", "Cerrar"),
    things=(
        "el menú del otoño",
        "la señal del muelle",
        "los años sin factura",
        "el balcón número ocho",
        "la guía del niño",
    ),
    remarks=(
        "¡Listo!",
        "¿Quién lo tiene?",
        "Mañana por la mañana, sin falta.",
        "Falta la eñe en el rótulo.",
        "Va mejor así.",
    ),
)
RUSSIAN = Language(
    people=("Ефим", "Настя", "Фёдор", "Юлия"),
    tasks=("Починить", "Описать", "Посчитать", "Убрать"),
    things=("дверь склада", "отчёт за март", "ящик с ёлочными шарами", "расписание паромов", "вывеску"),
    remarks=(
        "Сделаю завтра.",
        "Где ключи?",
        "Уже лучше.",
        "Проверил дважды, всё сходится.",
        "Подъезд закрыт до шести.",
    ),
)
GREEK = Language(
    people=("Ευγενία", "Θωμάς", "Ίρις"),
    tasks=("Διόρθωση:", "Έλεγχος:", "Αποστολή:"),
    things=("πίνακας δρομολογίων", "τιμές του χειμώνα", "χάρτης για το λιμάνι", "ευχές προς πελάτες"),
    remarks=("Εντάξει.", "Το έχω εγώ.", "Μετά τις δέκα, παρακαλώ.", "Πού είναι η απόδειξη;"),
)
JAPANESE = Language(
    people=("美咲", "大輔", "さくら", "健太"),
    tasks=("確認:", "修正:", "準備:", "相談:"),
    things=("新しい看板の色", "発注書の控え", "十月の献立", "入口の自動ドア", "ポスターの余白"),
    remarks=(
        "了解しました。",
        "少し待ってください。",
        "昨日より良くなりました!",
        "倉庫にあと三箱あります。",
        "電話で聞いてみます。",
    ),
)
CHINESE = Language(
    people=("雨桐", "志强", "小明"),
    tasks=("检查", "重写", "安排", "关闭"),
    things=("旧的报价单", "周四的会议室", "茶叶包装", "客户名单", "码头的灯"),
    remarks=("好的,我来处理。", "请先看照片。", "数字对不上。", "已经寄出。", "明天再说吧。"),
)
KOREAN = Language(
    people=("지우", "현우", "수아"),
    tasks=("확인:", "수정:", "준비:"),
    things=("가을 전시 목록", "배송 상자 크기", "회의실 의자", "영수증 사본"),
    remarks=("제가 할게요.", "내일 다시 봅시다.", "사진이 없어요.", "훨씬 좋아졌네요!"),
)
ARABIC = Language(
    people=("ليلى", "يوسف", "نور"),
    tasks=("مراجعة", "ترتيب", "إرسال"),
    things=("قائمة الضيوف", "صور المعرض", "فاتورة الشحن", "مفاتيح المخزن"),
    remarks=("تم، شكرا.", "من عنده النسخة القديمة؟", "بعد الظهر إن أمكن.", "ينقصها الختم."),
)
HEBREW = Language(
    people=("נועה", "איתן", "שירה"),
    tasks=("לבדוק", "לתקן", "לשלוח"),
    things=("רשימת ספרים", "את הדלת הצדדית", "טופס החזרה", "מפת הקומה"),
    remarks=("אני על זה.", "מי ראה את הקובץ?", "מחר בבוקר.", "הרבה יותר טוב."),
)
HINDI = Language(
    people=("आरव", "मीरा", "ईशान"),
    tasks=("जाँच:", "बदलाव:", "तैयारी:"),
    things=("दुकान का बोर्ड", "पुराने बिल", "चाय की सूची", "मेले का नक्शा"),
    remarks=("मैं कर दूँगा।", "कल सुबह देखते हैं।", "फ़ोटो साफ़ नहीं है।", "बहुत अच्छा!"),
)
TURKISH = Language(
    people=("Çağla", "İlker", "Işıl", "Gökçe"),
    tasks=("Düzelt:", "Yaz:", "Gönder:"),
    things=("ışıklı tabela", "ağustos çizelgesi", "şişe etiketleri", "müşteri görüşmesi"),
    remarks=("Ben bakıyorum.", "İyi oldu.", "Yarın öğleden önce.", "Çizim eksik."),
)
